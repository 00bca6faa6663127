"""Make the databases before any second process touches them (ours).

Not a stage: `make ui` and `make dashboard` begin with it. Processes that make the tables
of one new database together corrupt it.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from dcal.tracking.answers import describe_failure
from dcal.tracking.store import initialise_database
from dcal.tuning.storage import initialise_database as initialise_studies

# What each returns is a line on what was found.
DATABASES: Mapping[str, Callable[[], str]] = {
    "MLflow": initialise_database,
    "Optuna": initialise_studies,
}
HOST = "127.0.0.1"


def main(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="see that this port is free, too")
    ] = None,
    target: Annotated[str, typer.Option(help="what of make wants that port")] = "ui",
) -> None:
    """Make every database that is missing, under a lock."""
    if port is not None:
        check_port(port, target=target)
    for name, initialise in DATABASES.items():
        try:
            typer.echo(f"{name}: {initialise()}")
        except Exception as error:
            sys.exit(f"init: {name} has no database ({describe_failure(error)})")


def check_port(port: int, *, target: str, speaker: str = "init") -> None:
    """Exit with one sentence where another process listens on a port of this machine."""
    if not is_free(port):
        other = next((near for near in range(port + 1, 65536) if is_free(near)), 5001)
        sys.exit(
            f"{speaker}: port {port} of {HOST} is in use by another process; choose another one: "
            f"make {target} PORT={other}"
        )


def is_free(port: int) -> bool:
    """Say whether a server could listen on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
    return True


if __name__ == "__main__":
    typer.run(main)
