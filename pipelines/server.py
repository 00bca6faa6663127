"""MLflow for a group: a server on a database, with all files behind it; `make server` (ours).

Not a stage. Every address comes from the environment, under MLflow's own names, and goes on to
MLflow in the environment: what stands on a command line, every user of the machine can read.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import typer

from dcal.paths import work_root
from dcal.tracking.passwords import mask_password
from dcal.write_errors import describe_write_error
from pipelines.init import HOST, check_port

PORT = 5000
DATABASE = "MLFLOW_BACKEND_STORE_URI"
FILES = "MLFLOW_ARTIFACTS_DESTINATION"
ALLOWED_HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
ALLOWED_ORIGINS = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
UNCHECKED = "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"
# What runs are told of their files: clients send them to the server, and know no folder of it.
PROXIED = "mlflow-artifacts:/"
# A page of the web can have its own name lead to this machine, but cannot ask under these. MLflow's
# own list takes any name that begins as a private address does, such as 10.example.org.
OWN_NAMES = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[[]::1]", "[[]::1]:*")
# Of the clients, not of the server.
NOT_PASSED_ON = ("MLFLOW_TRACKING_URI", "DCAL_OPTUNA_URL")


class Places(NamedTuple):
    """Where a server keeps what it is told."""

    database: str
    files: str


def main(
    port: Annotated[int, typer.Option(min=1, max=65535, help="where the server listens")] = PORT,
    host: Annotated[str, typer.Option(help="the address of this machine it listens on")] = HOST,
) -> None:
    """Make the database if it is new, then become MLflow's server."""
    names = choose_names(os.environ, host=host, port=port)
    check_port(port, target="server", speaker="server", host=host)
    places = find_places(os.environ)
    prepare(places)
    check_port(port, target="server", speaker="server", host=host)  # that took seconds
    typer.echo(f"server: runs in {mask_password(places.database)}")
    typer.echo(f"server: files in {mask_password(places.files)}")
    typer.echo(f"server: http://{host}:{port} (Ctrl-C stops it)")
    sys.stdout.flush()
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    os.execve(command[0], command, build_environment(os.environ, places, names))


def choose_names(environment: Mapping[str, str], *, host: str, port: int) -> list[str]:
    """Return the user's names, with their ports, under which the server may be asked for.

    MLflow takes the port as part of a name, which nobody expects: a name without one is allowed at
    the server's own port, too.
    """
    if environment.get(UNCHECKED, "").strip().lower() not in ("", "0", "false"):
        sys.exit(
            f"server: {UNCHECKED} is set, and would let any page of the web ask the server; unset "
            f"it, and name the server's own names in {ALLOWED_HOSTS}"
        )
    for variable in (ALLOWED_HOSTS, ALLOWED_ORIGINS):
        if "*" in _split(environment.get(variable, "")):
            sys.exit(
                f"server: {variable}: expected names, such as mlflow.example.org; got *, which "
                "lets any page of the web ask the server"
            )
    given = _split(environment.get(ALLOWED_HOSTS, ""))
    if not given and not _is_loopback(host):
        sys.exit(
            f"server: HOST={host} opens the server to other machines; say under which names they "
            f"ask for it, such as {ALLOWED_HOSTS}=mlflow.example.org"
        )
    with_port = [f"{name}:{port}" for name in given if ":" not in name]
    return [*given, *with_port]


def find_places(environment: Mapping[str, str]) -> Places:
    """Return where runs and files go: what the environment says, else the work root."""
    from dcal.tracking.database import FILE, is_database

    database = environment.get(DATABASE, "").strip() or f"sqlite:///{work_root()}/mlflow-server.db"
    if not is_database(database) or (
        database.startswith("sqlite") and not database.startswith(FILE)
    ):
        sys.exit(
            f"server: {DATABASE}: expected a database, such as postgresql://user:password@host/"
            f"runs or sqlite:////path/runs.db; got {mask_password(database)}"
        )
    files = environment.get(FILES, "").strip() or str(work_root() / "mlflow-artifacts")
    return Places(database, files)


def prepare(places: Places) -> None:
    """Make tables and folder where they are missing; exit with one sentence where that fails."""
    from dcal.tracking.database import DatabaseError, prepare_database

    scheme, _, path, *_ = urlsplit(places.files)
    folder = Path(url2pathname(path) if scheme == "file" else places.files)
    if scheme in ("", "file"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = describe_write_error(error, folder) or f"{folder}: {error.strerror}"
            sys.exit(f"server: {FILES}: {reason}")
    try:
        prepare_database(places.database, artifact_root=PROXIED)
    except DatabaseError as error:
        sys.exit(f"server: {error}; see {DATABASE}")


def build_environment(
    environment: Mapping[str, str], places: Places, names: list[str]
) -> dict[str, str]:
    """Return the variables that MLflow's server reads."""
    origins = [f"{scheme}://{name}" for name in names for scheme in ("http", "https")]
    # Under another name than this machine's own, the server's pages are another origin to it.
    own_pages = {ALLOWED_ORIGINS: ",".join(origins)} if origins else {}
    kept = {key: text for key, text in environment.items() if key not in NOT_PASSED_ON}
    return {
        # One process: each further one takes 0.4 GB, and a group of some ten does not wait for it.
        "MLFLOW_WORKERS": "1",
        **own_pages,
        **kept,
        DATABASE: places.database,
        FILES: places.files,
        ALLOWED_HOSTS: ",".join([*OWN_NAMES, *names]),
        "MLFLOW_SERVE_ARTIFACTS": "true",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": PROXIED,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


if __name__ == "__main__":
    typer.run(main)
