"""Which MLflow store is written to, and its first touch under a lock (ours)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from dcal.paths import work_root

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The sender tries again by itself. With MLflow's own settings one call to a dead server takes
# minutes, and a stage would end that much later.
CLIENT_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def find_tracking_uri() -> str:
    """Return `$MLFLOW_TRACKING_URI`, else the database of the work root, absolute.

    Raises:
        ValueError: The variable names a folder, which MLflow no longer writes to.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return f"sqlite:///{work_root() / 'mlflow.db'}"
    if urlsplit(uri).scheme in ("", "file"):
        raise ValueError(
            "MLFLOW_TRACKING_URI: expected a server or a database, such as "
            f"http://127.0.0.1:5000 or sqlite:////path/mlflow.db; got {uri!r}"
        )
    return uri


def describe_tracking_uri() -> str:
    """Return the address as it may be written into a file: no password, no path of this machine."""
    if not os.environ.get("MLFLOW_TRACKING_URI", "").strip():
        return "sqlite:///mlflow.db"
    return mask_password(find_tracking_uri())


def mask_password(uri: str) -> str:
    """Replace user name and password of an address, and any value of its query, by three stars."""
    uri = re.sub(r"(?<=://).*@", "***@", uri)
    return re.sub(r"=[^&#]*", "=***", uri) if "?" in uri else uri


def connect() -> MlflowClient:
    """Return a client whose database is ready.

    Databases are made under a file lock: processes that touch a new one at the same moment
    corrupt it.
    """
    for variable, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient

    uri = find_tracking_uri()
    with _first_touch(uri):
        _make_whole(uri)
        return MlflowClient(uri)


def _make_whole(uri: str) -> None:
    """Make a missing SQLite database under a temporary name: one half made can never be used."""
    from mlflow import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:////") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    for leftover in path.parent.glob(f"{temporary.name}*"):
        leftover.unlink()
    MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
    os.replace(temporary, path)


def find_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the MLflow experiment called `name`, which is made if it is missing."""
    from mlflow.exceptions import MlflowException

    with _first_touch(find_tracking_uri()):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name, _artifact_location(name)))
            except MlflowException as error:
                # Another process was faster.
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = client.get_experiment_by_name(name)
            assert found is not None
        if found.lifecycle_stage == "deleted":
            raise ValueError(
                f"{describe_tracking_uri()}: experiment {name!r} was deleted; restore it with: "
                f"mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        return str(found.experiment_id)


def initialise_database() -> str:
    """Make MLflow's database if it has none of its tables; say in a line what was found."""
    uri = find_tracking_uri()
    if not _is_database(uri):
        return f"{describe_tracking_uri()} keeps its own database"
    connect().search_experiments(max_results=1)
    return f"{describe_tracking_uri()} is ready"


def _artifact_location(name: str) -> str | None:
    if not _is_database(find_tracking_uri()):
        return None  # a server knows where it keeps files
    folder = re.sub(r"[^\w.-]", "_", name)
    return (work_root() / "mlruns" / folder).as_uri()


@contextmanager
def _first_touch(uri: str) -> Iterator[None]:
    if not _is_database(uri):
        yield
        return
    root = work_root()
    root.mkdir(parents=True, exist_ok=True)
    # "Creating initial tables" and one line a migration are nobody's business.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with FileLock(root / "mlflow.db.lock", timeout=120):
        yield


def _is_database(uri: str) -> bool:
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES
