"""Which MLflow store is written to, and its first touch under a lock (ours)."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dcal.paths import work_root
from dcal.tracking.answers import describe_failure
from dcal.tracking.database import (
    first_touch,
    is_database,
    make_whole,
    require_own_database,
)
from dcal.tracking.pages import describe_experiment
from dcal.tracking.passwords import mask_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# The sender tries again by itself. With MLflow's own settings one call to a dead server takes
# minutes, and a stage would end that much later.
CLIENT_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def find_tracking_uri() -> str:
    """Return `$MLFLOW_TRACKING_URI`, else the database of the work root, absolute.

    Raises:
        ValueError: The variable names a folder, which MLflow no longer writes to, or no address.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return f"sqlite:///{_own_database()}"
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file") or ("://" not in uri and scheme != "databricks"):
        raise ValueError(
            "MLFLOW_TRACKING_URI: expected a server or a database, such as "
            f"http://127.0.0.1:5000 or sqlite:////path/mlflow.db; got {mask_password(uri)!r}"
        )
    return uri


def describe_tracking_uri() -> str:
    """Return the address as it may be written into a file: no password, no path of this machine."""
    if not os.environ.get("MLFLOW_TRACKING_URI", "").strip():
        return "sqlite:///mlflow.db"
    return mask_password(find_tracking_uri())


def connect() -> MlflowClient:
    """Return a client whose database is ready.

    Databases are made under a file lock: processes that touch a new one at the same moment
    corrupt it.

    Raises:
        DatabaseError: That of a database server belongs to another program, or does not answer.
    """
    for variable, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient

    uri = find_tracking_uri()
    with first_touch(uri):
        require_own_database(uri)
        make_whole(uri, lambda address: _touch(MlflowClient(address)))
        if uri == f"sqlite:///{_own_database()}":
            _follow_move(_own_database())
        return MlflowClient(uri)


@contextmanager
def mlflow_errors(what: str) -> Iterator[None]:
    """Turn what MLflow says when it fails, which names addresses in full, into one sentence.

    Raises:
        RuntimeError: MLflow cannot be reached, or refuses what was asked of it.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        # Without the error itself, whose text would be shown below it.
        raise RuntimeError(
            f"{what}: {describe_tracking_uri()} does not take it ({describe_failure(error)})"
        ) from None


def _touch(client: MlflowClient) -> None:
    client.search_experiments(max_results=1)


def _follow_move(path: Path) -> None:
    """Let the database of a project that was moved or copied name its files where they are now.

    MLflow keeps absolute addresses, so a copy would go on writing into the original.
    """
    here = f"{(work_root() / 'mlruns').as_uri()}/"
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        found = database.execute("SELECT artifact_location FROM experiments").fetchall()
        for root in {_find_root(address) for (address,) in found} - {None, here}:
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (here, len(root) + 1, len(root), root),
                )
            logger.info("the project was moved or copied: MLflow's files are looked for in mlruns")


def _find_root(address: str | None) -> Any:
    if address is None or not address.startswith("file://") or "/mlruns/" not in address:
        return None
    return address[: address.rindex("/mlruns/") + len("/mlruns/")]


def _own_database() -> Path:
    return work_root() / "mlflow.db"


def find_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the MLflow experiment called `name`, which is made if it is missing."""
    from mlflow.exceptions import MlflowException

    tags = describe_experiment(name)
    with first_touch(find_tracking_uri()):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name, _artifact_location(name), tags=tags))
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
        # One of before it had them; what the user wrote on MLflow's pages is left alone.
        for key in tags.keys() - found.tags.keys():
            client.set_experiment_tag(found.experiment_id, key, tags[key])
        return str(found.experiment_id)


def initialise_database() -> str:
    """Make MLflow's database if it has none of its tables; say in a line what was found."""
    uri = find_tracking_uri()
    if not is_database(uri):
        return f"{describe_tracking_uri()} keeps its own database"
    connect().search_experiments(max_results=1)
    return f"{describe_tracking_uri()} is ready"


def _artifact_location(name: str) -> str | None:
    if not is_database(find_tracking_uri()):
        return None  # a server knows where it keeps files
    folder = re.sub(r"[^\w.-]", "_", name)
    return (work_root() / "mlruns" / folder).as_uri()
