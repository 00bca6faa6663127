"""A PostgreSQL server of a test's own, where its programs are installed."""

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

import pytest

DEBIAN = "/usr/lib/postgresql"  # which puts no server program on the path


@contextmanager
def run_postgres() -> Iterator[str]:
    """Yield the address of a database that nothing was ever kept in."""
    with run_cluster() as cluster:
        yield cluster.url


class Cluster:
    """A PostgreSQL server below a folder, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        # It refuses to run as root, and others may not look into the folders of pytest.
        is_root = os.geteuid() == 0
        self._as_whom: dict[str, Any] = {"user": "nobody", "group": 65534} if is_root else {}
        if is_root:
            shutil.chown(folder, "nobody")
        self._folder, self._programs = folder, find_programs()
        self._data, self._port = str(folder / "data"), find_free_port()
        self._run("initdb", "-D", self._data, "-U", "dcal", "-A", "trust", "--no-sync")

    @property
    def url(self) -> str:
        """Return the address of its first database."""
        return f"postgresql+psycopg://dcal@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-p {self._port} -h 127.0.0.1 -k '' -F"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop without a word to who is connected, as a crash does."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def _run(self, *command: str) -> None:
        place = {"cwd": self._folder, "capture_output": True, "text": True}
        program = self._programs / command[0]
        done = subprocess.run([program, *command[1:]], **place, **self._as_whom)
        assert done.returncode == 0, done.stderr


@contextmanager
def run_cluster() -> Iterator[Cluster]:
    """Yield a new PostgreSQL server that runs; it must run at the end, too."""
    find_programs()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        cluster = Cluster(folder)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)


def find_programs() -> Path:
    """Return the folder of initdb and pg_ctl, or skip the test."""
    found = _find_initdb()
    if found is None:
        pytest.skip("no PostgreSQL server: initdb is neither on the path nor where Debian has it")
    return Path(found).resolve().parent


def has_programs() -> bool:
    """Say whether a server could be started here."""
    return _find_initdb() is not None


def _find_initdb() -> str | None:
    folders = [*os.environ["PATH"].split(":"), *map(str, Path(DEBIAN).glob("*/bin"))]
    return shutil.which("initdb", path=":".join(folders))


def find_free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
