"""Which database studies are kept in, its first touch, and what is said where it fails (ours)."""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from dcal.paths import work_root
from dcal.sentences import to_one_line
from dcal.tracking.store import mask_password
from dcal.tuning.errors import TuningError
from dcal.write_errors import describe_write_error

SQLITE = "sqlite:///"
SQLITE_HEADER = b"SQLite format 3\0"
OWN_TABLES = {"studies", "trials", "version_info"}
LOCK_SECONDS = 120
MAX_RETRIES = 2  # of a trial whose process dies


class Heartbeat(NamedTuple):
    """How a worker shows that it lives."""

    # Shorter ones kill live workers on a busy machine.
    interval_seconds: int = 60
    grace_seconds: int = 180


def find_storage_url() -> str:
    """Return `$DCAL_OPTUNA_URL`, else the database of the work root, absolute.

    Raises:
        TuningError: The variable names no database, or a file by a relative path.
    """
    url = os.environ.get("DCAL_OPTUNA_URL", "").strip()
    if not url:
        return f"{SQLITE}{work_root() / 'optuna.db'}"
    example = "such as sqlite:////path/optuna.db or postgresql+psycopg://host/optuna"
    if "://" not in url:
        raise TuningError(f"DCAL_OPTUNA_URL: expected a database, {example}; got {url!r}")
    if not _is_address(url):
        raise TuningError(
            f"DCAL_OPTUNA_URL: {mask_password(url)} is no address of a database; expected one, "
            f"{example}"
        )
    if url.startswith("sqlite") and (not url.startswith("sqlite:////") or ":memory:" in url):
        raise TuningError(
            f"DCAL_OPTUNA_URL: expected a file by its absolute path, {example}, so that every "
            f"worker finds it; got {mask_password(url)}"
        )
    return url


def _is_address(url: str) -> bool:
    try:
        sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        return False
    return True


def describe_storage_url() -> str:
    """Return the address as it may be shown: no password, no path of this machine's default."""
    if not os.environ.get("DCAL_OPTUNA_URL", "").strip():
        return "sqlite:///optuna.db"
    return mask_password(find_storage_url())


def open_storage(heartbeat: Heartbeat | None = None) -> RDBStorage:
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
    url = find_storage_url()
    with lock_storage(), storage_errors():
        path = _find_file(url)
        if path is not None:
            _make_file(path)
        _check_tables(url)
        return _connect(url, heartbeat or Heartbeat())


def initialise_database() -> str:
    """Make the database if it is missing; say in a line what was found."""
    open_storage()
    return f"{describe_storage_url()} is ready"


@contextmanager
def lock_storage() -> Iterator[None]:
    """Let one process of this machine at a time touch the database's shape or claim a trial.

    Raises:
        TuningError: Its folder cannot be written to.
    """
    path = _find_file(find_storage_url()) or work_root() / "optuna.db"
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        reason = describe_write_error(error, path) or f"{lock.lock_file}: {error}"
        raise TuningError(reason) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a database says when it fails into one sentence.

    Raises:
        TuningError: It cannot be reached, read or written.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        raise TuningError(f"{describe_storage_url()}: {_describe_failure(error)}") from error


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
        RDBStorage,
        url,
        engine_kwargs=engine,
        heartbeat_interval=heartbeat.interval_seconds,
        grace_period=heartbeat.grace_seconds,
        heartbeat_stale_trial_callback=make_retry_callback(MAX_RETRIES),
    )
    return storage


def _find_file(url: str) -> Path | None:
    return Path(url.removeprefix(SQLITE).partition("?")[0]) if url.startswith(SQLITE) else None


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
    try:
        engine = sqlalchemy.create_engine(url)
    except ImportError as error:
        raise TuningError(
            f"{describe_storage_url()}: the driver of this database is not installed ({error})"
        ) from None
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


def _describe_failure(error: Exception) -> str:
    if isinstance(error, (ArgumentError, NoSuchModuleError)):
        return "is no address of a database; expected one such as sqlite:////path/optuna.db"
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, DBAPIError):
        cause = cause.orig or cause
    reason = to_one_line(str(cause))
    if "readonly database" in reason or "read-only" in reason:
        return (
            "the database may be read and not written to; let it be written to, or set "
            "DCAL_OPTUNA_URL to another one"
        )
    if isinstance(cause, sqlite3.Error):
        return f"the database cannot be used ({reason})"
    return f"the database cannot be reached ({reason}); start it, or see DCAL_OPTUNA_URL"
