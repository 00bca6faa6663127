"""The bytes of a file that came so far; they outlive the process that fetched them (ours)."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.filesize import decimal

from dcal.disk import sync_folder
from dcal.write_errors import explain, find_cause


class PartFile:
    """An open `.<name>.part`, locked against other processes; get one from `open_part`.

    Every method that writes raises WriteError where the disk is full or the place is to blame.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._target = target
        self._handle = _open_locked(self.path)

    @property
    def num_bytes(self) -> int:
        """Return how many bytes are there."""
        return os.fstat(self._handle).st_size

    def write(self, data: bytes, *, at: int) -> None:
        """Put bytes at a place, over those that may be there; what still fits a full disk stays."""
        rest = memoryview(data)
        with explain_failed_write(self._target):
            while rest:
                written = os.pwrite(self._handle, rest, at)
                rest, at = rest[written:], at + written

    def cut(self, num_bytes: int) -> None:
        """Throw away what comes after so many bytes."""
        with explain_failed_write(self._target):
            os.ftruncate(self._handle, num_bytes)

    def require_room(self, num_bytes: int) -> None:
        """Check that the disk has room for the rest of a file of `num_bytes`.

        Raises:
            OSError: It has not; nothing was written.
        """
        missing = num_bytes - self.num_bytes
        free = shutil.disk_usage(self.path.parent).free
        if free < missing:
            raise OSError(
                f"{self.path.parent}: {self._target.name} needs {decimal(missing)} more, "
                f"{decimal(free)} are free; make room on that disk, then run the command again"
            )

    def put_in_place(self) -> None:
        """Give the file its own name; after a power cut it is there whole, or still a part."""
        with explain_failed_write(self._target):
            os.fsync(self._handle)
            os.replace(self.path, self._target)
            sync_folder(self._target.parent)

    def close(self) -> None:
        """Let go of the part, which stays for the next call unless it is empty."""
        if self.num_bytes == 0 and _is_at(self.path, self._handle):
            with suppress(OSError):
                self.path.unlink()
        os.close(self._handle)


@contextmanager
def open_part(target: Path) -> Iterator[PartFile]:
    """Open the part of the file `target`, with what an earlier call left in it.

    Raises:
        OSError: Another process has it open.
        WriteError: The disk is full, or the place may not be written to.
    """
    with explain_failed_write(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = PartFile(target)
    try:
        yield part
    finally:
        part.close()


@contextmanager
def explain_failed_write(path: Path) -> Iterator[None]:
    """Turn an error that the disk or the place is to blame for into its sentence.

    Raises:
        WriteError: What is done inside failed for such a reason.
    """
    try:
        yield
    except OSError as error:
        cause = find_cause(error, path)
        if cause is None:
            raise
        raise explain(cause, path) from error


def _open_locked(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise OSError(
                f"{path}: another process is downloading into it; wait until that one is done, or "
                "stop it, then run the command again"
            ) from None
        except OSError:
            pass  # a network file system without locks
        # Between opening and locking, its holder may have put it in place or removed it.
        if _is_at(path, handle):
            return handle
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
