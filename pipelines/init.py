"""Make the databases before any second process touches them (ours).

Not a stage: `make ui` begins with it. Processes that make the tables of one new database together
corrupt it.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from dcal.tracking.answers import describe_failure
from dcal.tracking.database import DatabaseError
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
) -> None:
    """Make every database that is missing, under a lock."""
    if port is not None:
        check_port(port, target="ui")
    for name, initialise in DATABASES.items():
        try:
            typer.echo(f"{name}: {initialise()}")
        except DatabaseError as error:
            sys.exit(f"init: {error}; see MLFLOW_TRACKING_URI")
        except Exception as error:
            sys.exit(f"init: {name} has no database ({describe_failure(error)})")


def check_port(port: int, *, target: str, speaker: str = "init", host: str = HOST) -> None:
    """Exit with one sentence where another process listens on a port of this machine."""
    try:
        if is_free(port, host):
            return
        other = next((near for near in range(port + 1, 65536) if is_free(near, host)), 5001)
    except OSError:
        sys.exit(f"{speaker}: expected an address of this machine to listen on, got HOST={host}")
    sys.exit(
        f"{speaker}: port {port} of {host} is in use by another process; choose another one: "
        f"make {target} PORT={other}"
    )


def is_free(port: int, host: str = HOST) -> bool:
    """Say whether a server could listen on a port of this machine.

    Raises:
        OSError: The host is no address of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
    return True


if __name__ == "__main__":
    typer.run(main)
