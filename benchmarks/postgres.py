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


@contextmanager
def run_postgres(*, keeps_durable: bool = False) -> Iterator[str]:
    """Yield the address of a database that nothing was ever kept in.

    Args:
        keeps_durable: Whether a commit waits for the disk, as it does by default, or for none.

    Raises:
        NoServer: PostgreSQL is not installed.
    """
    programs = find_programs()
    # The server refuses to run as root, and others may not look into every folder.
    as_whom: dict[str, Any] = {"user": "nobody", "group": 65534} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if as_whom:
        shutil.chown(folder, as_whom["user"])

    def run(*command: str) -> None:
        place: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True}
        done = subprocess.run([programs / command[0], *command[1:]], **place, **as_whom)
        assert done.returncode == 0, done.stderr

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "dcal", "-A", "trust", "--no-sync")
        port = find_free_port()
        options = f"-p {port} -h 127.0.0.1 -k ''{'' if keeps_durable else ' -F'}"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://dcal@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


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
