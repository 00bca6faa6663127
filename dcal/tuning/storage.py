"""The database that studies are kept in, and its first touch (ours)."""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from dcal.tuning.address import JOURNAL, SQLITE, describe_storage_url, find_file, find_storage_url
from dcal.tuning.errors import TuningError
from dcal.tuning.failures import make_engine, storage_errors
from dcal.tuning.journal import Journal
from dcal.tuning.locks import lock_storage

SQLITE_HEADER = b"SQLite format 3\0"
OWN_TABLES = {"studies", "trials", "version_info"}
MAX_RETRIES = 2  # of a trial whose process dies
Storage = RDBStorage | Journal


class Heartbeat(NamedTuple):
    """How a worker shows that it lives."""

    # Shorter ones kill live workers on a busy machine.
    interval_seconds: int = 60
    grace_seconds: int = 180


def open_storage(heartbeat: Heartbeat | None = None) -> Storage:
    """Return the storage, whose tables are made if there are none.

    Tables are made under a lock, because processes that make them together fail; those of a SQLite
    file under a temporary name, because one half made can never be used. A trial whose worker shows
    no sign of life is failed by the next worker that looks, and tried again with what it reported.

    Raises:
        TuningError: The database cannot be reached or written to, or belongs to another program.
    """
    # `dcal.tuning` says what happens to a trial in one line, Optuna in many.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    url, signs = find_storage_url(), heartbeat or Heartbeat()
    with lock_storage(), storage_errors():
        journal = find_file(url, JOURNAL)
        if journal is not None:
            return _open_journal(journal, signs)
        path = find_file(url, SQLITE)
        if path is not None:
            _make_file(path)
        _check_tables(url)
        return _connect(url, signs)


def initialise_database() -> str:
    """Make the database if it is missing; say in a line what was found."""
    open_storage()
    return f"{describe_storage_url()} is ready"


def quietly(make: Any, *args: Any, **options: Any) -> Any:
    """Call what Optuna has had as an experiment for years without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return make(*args, **options)


def make_retry_callback(max_retry: int | None) -> RetryHeartbeatStaleTrialCallback:
    """Return what enqueues a failed trial again, with its values and what it reported."""
    callback: RetryHeartbeatStaleTrialCallback = quietly(
        RetryHeartbeatStaleTrialCallback, max_retry=max_retry, inherit_intermediate_values=True
    )
    return callback


def _connect(url: str, heartbeat: Heartbeat) -> RDBStorage:
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith(SQLITE):
        engine["connect_args"] = {"timeout": 60}
    storage: RDBStorage = quietly(
        _Database,
        url,
        engine_kwargs=engine,
        heartbeat_interval=heartbeat.interval_seconds,
        grace_period=heartbeat.grace_seconds,
        heartbeat_stale_trial_callback=make_retry_callback(MAX_RETRIES),
    )
    return storage


class _Database(RDBStorage):
    def record_heartbeat(self, trial_id: int) -> None:
        """Show that the worker of a trial lives; where it cannot be shown now, the next time."""
        # An error would end Optuna's thread of signs, and a worker that lives be taken for dead.
        with suppress(StorageInternalError, SQLAlchemyError):
            super().record_heartbeat(trial_id)


def _open_journal(path: Path, heartbeat: Heartbeat) -> Journal:
    return Journal(
        path,
        heartbeat_interval=heartbeat.interval_seconds,
        grace_period=heartbeat.grace_seconds,
        on_stale=make_retry_callback(MAX_RETRIES),
    )


def _make_file(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        _check_file(path)
        return
    temporary = path.with_name(f".part-{path.name}")
    for leftover in path.parent.glob(f"{temporary.name}*"):
        leftover.unlink()
    storage = RDBStorage(f"{SQLITE}{temporary}")
    storage.remove_session()
    storage.engine.dispose()
    os.replace(temporary, path)


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            header = stream.read(len(SQLITE_HEADER))
    except OSError as error:
        raise TuningError(f"{describe_storage_url()}: cannot be read ({error.strerror})") from None
    if header != SQLITE_HEADER:
        raise TuningError(
            f"{describe_storage_url()}: expected a SQLite database, got another file; move it away "
            "or set DCAL_OPTUNA_URL"
        )
    # Asked by writing, because permissions do not bind root and a mount may be read-only.
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version = {int(version)}")
        database.execute("ROLLBACK")


def _check_tables(url: str) -> None:
    engine = make_engine(url)
    try:
        tables = set(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if tables and not tables >= OWN_TABLES:
        raise TuningError(
            f"{describe_storage_url()}: expected a database of Optuna or an empty one; got one of "
            f"another program, with the tables {', '.join(sorted(tables)[:5])}. Set "
            "DCAL_OPTUNA_URL to another one"
        )
