"""A PostgreSQL server of one's own for a while, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEBIAN = "/usr/lib/postgresql"  # which puts no server program on the path


class NoServer(RuntimeError):
    """There are no programs of a PostgreSQL server."""


class Cluster:
    """A PostgreSQL server below a folder, which can be stopped and started again.

    Args:
        folder: Empty, and of nobody else.
        keeps_durable: Whether a commit waits for the disk, as it does by default, or for none.

    Raises:
        NoServer: PostgreSQL is not installed.
    """

    def __init__(self, folder: Path, *, keeps_durable: bool = False) -> None:
        self._programs = find_programs()
        # It refuses to run as root, and others may not look into every folder.
        is_root = os.geteuid() == 0
        self._as_whom: dict[str, Any] = {"user": "nobody", "group": 65534} if is_root else {}
        if is_root:
            shutil.chown(folder, "nobody")
        self._folder, self._keeps_durable = folder, keeps_durable
        self._data, self._port = str(folder / "data"), find_free_port()
        self._run("initdb", "-D", self._data, "-U", "dcal", "-A", "trust", "--no-sync")

    @property
    def url(self) -> str:
        """Return the address of its first database."""
        return f"postgresql+psycopg://dcal@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-p {self._port} -h 127.0.0.1 -k ''{'' if self._keeps_durable else ' -F'}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop without a word to who is connected, as a crash does."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def _run(self, *command: str) -> None:
        place: dict[str, Any] = {"cwd": self._folder, "capture_output": True, "text": True}
        program = self._programs / command[0]
        done = subprocess.run([program, *command[1:]], **place, **self._as_whom)
        assert done.returncode == 0, done.stderr


@contextmanager
def run_cluster(*, keeps_durable: bool = False) -> Iterator[Cluster]:
    """Yield a new server that runs; it must run at the end, too.

    Raises:
        NoServer: PostgreSQL is not installed.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        cluster = Cluster(folder, keeps_durable=keeps_durable)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def run_postgres(*, keeps_durable: bool = False) -> Iterator[str]:
    """Yield the address of a database that nothing was ever kept in; see `run_cluster`."""
    with run_cluster(keeps_durable=keeps_durable) as cluster:
        yield cluster.url


def find_programs() -> Path:
    """Return the folder of initdb and pg_ctl.

    Raises:
        NoServer: It is not there.
    """
    folders = [*os.environ["PATH"].split(":"), *map(str, Path(DEBIAN).glob("*/bin"))]
    found = shutil.which("initdb", path=":".join(folders))
    if found is None:
        raise NoServer(
            "no PostgreSQL server: initdb is neither on the path nor where Debian has it"
        )
    return Path(found).resolve().parent


def find_free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
