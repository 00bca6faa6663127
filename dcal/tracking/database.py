"""The database that MLflow keeps: its first touch, and why it cannot be used (ours).

Processes that make MLflow's tables together corrupt a new SQLite file for good, and fail on
PostgreSQL. MLflow's own lock is left out by its tracking store, and is of one machine.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from dcal.paths import work_root
from dcal.tracking.answers import describe_failure
from dcal.tracking.passwords import mask_password

if TYPE_CHECKING:
    from sqlalchemy import Engine

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
FILE = "sqlite:////"  # a SQLite database by its absolute path
LOCK_SECONDS = 120
CONNECT_SECONDS = 10
# Of PostgreSQL's advisory lock, which every machine asks for: any number that others do not take.
LOCK_NUMBER = int.from_bytes(b"dcal.run")
# What MLflow keeps runs in; Optuna's database, say, has neither.
OWN_TABLES = {"experiments", "runs"}


def is_database(uri: str) -> bool:
    """Say whether MLflow opens an address as a database, not as a server."""
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


class DatabaseError(RuntimeError):
    """A database that cannot be used; the message is one sentence without its password."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(f"the database {mask_password(uri)} cannot be used ({reason})")
        self.database_reason = reason  # what `describe_failure` makes of it


def prepare_database(uri: str, *, artifact_root: str) -> None:
    """Make MLflow's tables where there are none, and see that they may be written to.

    Args:
        uri: A database; a SQLite one by its absolute path.
        artifact_root: Where files of MLflow's own first experiment are kept.

    Raises:
        DatabaseError: It cannot be reached or written to, or belongs to another program.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def initialise(address: str) -> None:
        SqlAlchemyStore(address, artifact_root).engine.dispose()

    with _database_errors(uri), first_touch(uri):
        make_whole(uri, initialise)
        # Before MLflow, which asks a database that does not answer for two minutes.
        engine = _connect(uri)
        try:
            _require_no_other_tables(engine)
            initialise(uri)
            _require_writable(engine)
        finally:
            engine.dispose()


@contextmanager
def first_touch(uri: str) -> Iterator[None]:
    """Let one process at a time look for MLflow's tables, and make them.

    Of a database server one of all machines, else one of this machine.
    """
    if not is_database(uri):
        yield
        return
    root = work_root()
    root.mkdir(parents=True, exist_ok=True)
    # "Creating initial tables" and one line a migration are nobody's business; and of an error,
    # which reaches the caller, it would print the trace, the statement and all its values.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with FileLock(root / "mlflow.db.lock", timeout=LOCK_SECONDS), _hold_server(uri):
        yield


@lru_cache(maxsize=8)
def require_own_database(uri: str) -> None:
    """See that a database server's database is MLflow's or empty, before MLflow adds its tables.

    Raises:
        DatabaseError: It belongs to another program, or cannot be reached.
    """
    if not is_database(uri) or uri.startswith("sqlite"):
        return
    with _database_errors(uri):
        engine = _connect(uri)
        try:
            _require_no_other_tables(engine)
        finally:
            engine.dispose()


def make_whole(uri: str, initialise: Callable[[str], None]) -> None:
    """Make a missing SQLite database under a temporary name: one half made can never be used."""
    if not uri.startswith(FILE) or find_file(uri).exists():
        return
    path = find_file(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    for leftover in path.parent.glob(f"{temporary.name}*"):
        leftover.unlink()
    initialise(f"sqlite:///{temporary}")
    os.replace(temporary, path)


def find_file(uri: str) -> Path:
    """Return the file of a SQLite database that is given by its absolute path."""
    assert uri.startswith(FILE)
    return Path("/" + uri.removeprefix(FILE).partition("?")[0])


@contextmanager
def _database_errors(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, MlflowException, OSError, ImportError, ValueError) as error:
        # Without the error itself: what a driver says may hold pieces of a mistyped address.
        raise DatabaseError(uri, describe_failure(error)) from None


@contextmanager
def _hold_server(uri: str) -> Iterator[None]:
    if not uri.startswith("postgresql"):
        yield
        return
    from sqlalchemy import text

    with ExitStack() as stack:
        with _database_errors(uri):
            engine = _connect(uri)
            stack.callback(engine.dispose)
            # It ends with the transaction: with a session's lock a pooler in between would keep it.
            connection = stack.enter_context(engine.begin())
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_NUMBER})
        yield


def _connect(uri: str) -> Engine:
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError

    try:
        url = sqlalchemy.make_url(uri)
        driver = url.get_driver_name()
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        raise ValueError("that is no address of a database") from None
    options: dict[str, Any] = {}
    # Left alone, a machine that is not there is waited for two minutes.
    if driver.startswith("psycopg") and "connect_timeout" not in url.query:
        options["connect_timeout"] = CONNECT_SECONDS
    try:
        return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=options)
    except ImportError:
        raise ValueError(f"the driver {driver} is not installed") from None


def _require_no_other_tables(engine: Engine) -> None:
    from sqlalchemy import inspect

    tables = set(inspect(engine).get_table_names())
    if tables and not tables >= OWN_TABLES:
        raise ValueError(
            "expected MLflow's or an empty one; it is of another program, with the tables "
            f"{', '.join(sorted(tables)[:3])}"
        )


def _require_writable(engine: Engine) -> None:
    from sqlalchemy import text

    # Asked by a write that changes nothing: permissions, a standby and a file all refuse it.
    with engine.begin() as connection:
        connection.execute(text("UPDATE experiments SET name = name WHERE 1 = 0"))
