"""Temporary files beside their targets, put in place whole, and safe from a power cut (ours)."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dcal.write_errors import explain, find_cause

logger = logging.getLogger(__name__)

PART_PREFIX = ".part-"
LEFTOVER_SECONDS = 24 * 3600


class Parts:
    """Temporary files and folders of one write, each locked for as long as it is in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[Path, int] = {}

    def make_file(self, *, suffix: str) -> Path:
        """Make an empty file."""
        handle, name = tempfile.mkstemp(prefix=PART_PREFIX, suffix=suffix, dir=self._folder)
        return self._lock(Path(name), handle)

    def make_folder(self) -> Path:
        """Make an empty folder."""
        path = Path(tempfile.mkdtemp(prefix=PART_PREFIX, dir=self._folder))
        return self._lock(path, os.open(path, os.O_RDONLY))

    def remove(self) -> None:
        """Remove those that are still there."""
        while self._locks:
            path, handle = self._locks.popitem()
            os.close(handle)
            with suppress(OSError):  # a later write removes it
                _remove(path)

    def _lock(self, path: Path, handle: int) -> Path:
        self._locks[path] = handle
        with suppress(OSError):  # a network file system without locks: age alone decides there
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path


@contextmanager
def parts_beside(path: Path) -> Iterator[Parts]:
    """Give temporary files beside `path`, which are removed at the end.

    Raises:
        WriteError: What is written inside failed, and the disk or the place is to blame.
    """
    parts = Parts(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        yield parts
    except Exception as error:
        # Asked while what is half-written still fills the disk, told with the room that is left.
        cause = find_cause(error, path)
        if cause is None:
            raise
        parts.remove()
        raise explain(cause, path) from error
    finally:
        parts.remove()


@contextmanager
def take_lock(path: Path, *, wait_seconds: float) -> Iterator[None]:
    """Hold a lock file, which is made with its folder; a killed holder lets go by being dead.

    Raises:
        Timeout: Another process holds it for longer than that.
        WriteError: The disk is full, or the place may not be written to.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_seconds)
    except OSError as error:
        cause = None if isinstance(error, Timeout) else find_cause(error, path)
        if cause is None:
            raise
        raise explain(cause, path) from error
    try:
        yield
    finally:
        lock.release()


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left: temporary, a day old, and locked by no one."""
    for path in folder.glob(f"{PART_PREFIX}*"):
        try:
            age_seconds = time.time() - path.lstat().st_mtime
            if age_seconds > LEFTOVER_SECONDS and not _is_locked(path):
                _remove(path)
                logger.info("%s: left by a process that was killed, removed", path)
        except FileNotFoundError:
            continue  # its writer was quicker
        except OSError as error:
            logger.warning("%s: left by a process that was killed, and stays (%s)", path, error)


def _is_locked(path: Path) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)  # else there are no locks: age decides
    finally:
        os.close(handle)
    return False


def exchange(new: Path, path: Path) -> None:
    """Put a folder in the place of another, which is removed when the new one is there."""
    previous = _previous(path)
    if os.path.lexists(path):
        os.replace(path, previous)
    try:
        os.replace(new, path)
    except BaseException:
        bring_back(path)
        raise
    sync_folder(path.parent)
    try:
        _remove(previous)
    except OSError as error:
        logger.warning("%s: replaced, but what was there stays as %s (%s)", path, previous, error)


def bring_back(path: Path) -> None:
    """Undo or finish an exchange that was cut short."""
    previous = _previous(path)
    if os.path.lexists(path):
        _remove(previous)
    elif os.path.lexists(previous):
        os.replace(previous, path)


def _previous(path: Path) -> Path:
    return path.with_name(f".previous-{path.name}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's list of names is on the disk."""
    try:
        sync(folder)
    except OSError as error:
        # Some network file systems cannot, and there is no other way to ask them.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise


def sync_tree(folder: Path) -> None:
    """Wait until all files below a folder, and their names, are on the disk."""
    found = [(Path(parent), names) for parent, _, names in os.walk(folder)]
    # Side by side they share the journal's commits: ten times as fast as one after another.
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(sync, (parent / name for parent, names in found for name in names)))
    for parent, _ in reversed(found):
        sync_folder(parent)
