"""One process at a time, on whichever machine reaches the storage (ours).

A file lock reaches the processes of one machine, which is where a SQLite file is. For PostgreSQL
the server itself keeps a lock, for as long as the connection that asked for it lives. Where only a
folder is shared, locks of files may be missing, and a file that can be made once is one: Optuna's
own, with signs of life, because it is taken for abandoned without.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import sqlalchemy
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileOpenLock
from sqlalchemy.exc import OperationalError

from dcal.paths import work_root
from dcal.tuning.address import (
    JOURNAL,
    POSTGRESQL,
    SQLITE,
    describe_storage_url,
    find_file,
    find_storage_url,
)
from dcal.tuning.ages import find_age
from dcal.tuning.errors import TuningError
from dcal.tuning.failures import make_engine, storage_errors
from dcal.write_errors import describe_write_error

LOCK_SECONDS = 120.0
ABANDONED_SECONDS = 60  # without a sign of life, of a lock in a shared folder
POLL_SECONDS = 1.0
# A machine that lost its power says nothing, and its lock would stay for hours.
SETTINGS = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10"}


class StorageBusy(TuningError):
    """Another process is at it, and was for as long as this one would wait."""


@contextmanager
def lock_storage(purpose: str = "", *, wait_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Let one process at a time touch the database's shape or claim a trial, or do what is named.

    Raises:
        StorageBusy: Another one does so for longer than `wait_seconds`.
        TuningError: The database cannot be reached, or its folder cannot be written to.
    """
    url = find_storage_url()
    if url.startswith(POSTGRESQL):
        lock = _lock_server(url, purpose, wait_seconds)
    elif journal := find_file(url, JOURNAL):
        lock = _lock_folder(journal.with_name(f"{journal.name}.{purpose or 'claim'}"), wait_seconds)
    else:
        path = find_file(url, SQLITE) or work_root() / "optuna.db"
        name = f"{path.name}.{purpose}.lock" if purpose else f"{path.name}.lock"
        lock = _lock_file(path.with_name(name), wait_seconds)
    with lock:
        yield


@contextmanager
def take_turn(
    purpose: str, *, should_stop: Callable[[], str | None], say: Callable[[], None]
) -> Iterator[None]:
    """Wait until no other process does what is named, however long that takes.

    Args:
        purpose: Of `lock_storage`.
        should_stop: Asked while waiting; a text is the reason to stop.
        say: Called once where there is something to wait for.

    Raises:
        KeyboardInterrupt: `should_stop` gave a reason.
    """
    has_said = False
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(lock_storage(purpose, wait_seconds=0))
            except StorageBusy:
                if not has_said:
                    say()
                    has_said = True
            else:
                yield
                return
        if reason := should_stop():
            raise KeyboardInterrupt(reason)
        threading.Event().wait(POLL_SECONDS)


@contextmanager
def _lock_file(path: Path, wait_seconds: float) -> Iterator[None]:
    lock = FileLock(path)
    with _file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=wait_seconds)
        except Timeout:
            raise _make_busy(wait_seconds) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _lock_folder(path: Path, wait_seconds: float) -> Iterator[None]:
    lock = JournalFileOpenLock(str(path), grace_period=ABANDONED_SECONDS)
    made = Path(lock._lock_file)
    with _file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        age = find_age(made)
        if not wait_seconds and age is not None and age < ABANDONED_SECONDS:
            raise _make_busy(wait_seconds)
        lock.acquire()
    done = threading.Event()
    beats = threading.Thread(target=_show_life, args=(made, done), daemon=True)
    beats.start()
    try:
        yield
    finally:
        done.set()
        beats.join()
        with suppress(RuntimeError):  # this process slept, and another one took it for dead
            lock.release()


def _show_life(path: Path, done: threading.Event) -> None:
    while not done.wait(ABANDONED_SECONDS / 4):
        with suppress(OSError):
            path.touch()


@contextmanager
def _lock_server(url: str, purpose: str, wait_seconds: float) -> Iterator[None]:
    key = int.from_bytes(hashlib.sha256(f"dcal {purpose}".encode()).digest()[:8], signed=True)
    with ExitStack() as held:
        with storage_errors():
            connection = held.enter_context(_make_engine(url).connect())
            settings = {**SETTINGS, "lock_timeout": f"{wait_seconds:.0f}s"}
            for name, value in settings.items():
                connection.execute(
                    sqlalchemy.text("SELECT set_config(:name, :value, false)"),
                    {"name": name, "value": value},
                )
            if not _ask_server(connection, key, wait_seconds):
                raise _make_busy(wait_seconds)
        # The server lets go of it when the connection ends, however it ends.
        yield


def _ask_server(connection: sqlalchemy.Connection, key: int, wait_seconds: float) -> bool:
    if not wait_seconds:
        said = connection.execute(
            sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}
        )
        return bool(said.scalar())
    try:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
    except OperationalError as error:
        if "lock timeout" in str(error.orig):
            return False
        raise
    return True


@lru_cache(maxsize=4)
def _make_engine(url: str) -> sqlalchemy.Engine:
    # No pool: a connection that waits for its next use would keep the lock.
    return make_engine(url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = describe_write_error(error, path)
        raise TuningError(reason or f"{path.name}: {error}") from None


def _make_busy(wait_seconds: float) -> StorageBusy:
    return StorageBusy(
        f"{describe_storage_url()}: another process holds it for more than {wait_seconds:.0f} s; "
        "see that none of the workers hangs, and run this again"
    )
