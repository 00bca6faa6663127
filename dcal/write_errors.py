"""What is said where a disk does not take what is written (ours)."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Cause -> what it is, what to do. Only writing fails with these, so whoever meets one was writing.
_OF_THE_DISK = {
    errno.ENOSPC: ("the disk is full", "make room on that disk"),
    errno.EDQUOT: ("your quota there is used up", "make room within it"),
    errno.EFBIG: ("a file there may not become that large", "raise the limit (see ulimit -f)"),
    errno.EROFS: ("that place is read-only", "make it writable or work in another folder"),
    errno.EIO: ("the disk reports an error", "look into the state of that disk"),
}
_FORBIDDEN = ("writing there is not permitted", "let it be written to or work in another folder")
# Reading fails with these too, so they count only where the error names the place itself.
_OF_THE_PLACE = {
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.ENOTDIR: ("a file stands where a folder is needed", "move it away"),
    errno.EEXIST: ("a file stands where a folder is needed", "move it away"),
    errno.EISDIR: ("a folder of that name is in the way", "move it away"),
    errno.EBUSY: ("that place is a mount point or in use", "take a folder inside it or another"),
}
# Libraries that keep the number to themselves (safetensors, SQLite) still say it in words.
_WORDS = {os.strerror(number).lower(): number for number in _OF_THE_DISK}
_WORDS["disk is full"] = errno.ENOSPC
_PROBE_BYTES = 1 << 20


class WriteError(OSError):
    """A write that failed for a reason outside this project; the message is one sentence."""

    def __init__(self, message: str, *, cause: int, path: Path) -> None:
        super().__init__(message)
        self.errno = cause
        self.filename = str(path)

    def __str__(self) -> str:
        """Return the sentence alone, where OSError would put number and file name around it."""
        return str(self.args[0])


def describe_write_error(error: BaseException, path: str | Path) -> str | None:
    """Return one sentence on a failed write to `path`; None where the place is not to blame."""
    cause = find_cause(error, Path(path))
    return None if cause is None else str(explain(cause, Path(path)))


def find_cause(error: BaseException, path: Path) -> int | None:
    """Return the errno that kept `path` from being written; None where the place is not to blame.

    To be asked while the half-written file still fills the disk: torch and Pillow fail without
    saying why, and then a write of our own is tried.
    """
    for link in _follow(error):
        if isinstance(link, OSError) and not _concerns(link, path):
            if isinstance(link, WriteError):
                return None  # told already, and of another place
            continue
        number = getattr(link, "errno", None)
        if number in _OF_THE_DISK or (link is error and _is_of_the_place(link, path)):
            return number
        text = str(link).lower()
        for words, meant in _WORDS.items():
            if words in text:
                return meant
    has_no_number = isinstance(error, OSError) and error.errno is None
    if has_no_number or isinstance(error, RuntimeError):
        return _probe(_nearest_folder(path.parent))
    return None


def explain(cause: int, path: Path) -> WriteError:
    """Return the error to raise for a cause that `find_cause` found."""
    reason, advice = {**_OF_THE_DISK, **_OF_THE_PLACE}[cause]
    folder, name = path.parent.absolute(), path.name.removeprefix(".part-")
    room = f" ({_describe_room(folder)})" if cause in (errno.ENOSPC, errno.EDQUOT) else ""
    return WriteError(
        f"{name} could not be written in {folder}: {reason}{room}; what was there before is "
        f"intact. To go on, {advice}, then run the command again",
        cause=cause,
        path=path,
    )


def _follow(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what it was raised from or during."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__


def _concerns(error: OSError, path: Path) -> bool:
    """Say whether an error that names a file names one on the way to `path` or beside it."""
    if not isinstance(error.filename, (str, bytes, os.PathLike)):
        return True
    named = Path(os.path.abspath(os.fsdecode(error.filename)))
    folder = Path(os.path.abspath(path.parent))
    return named.is_relative_to(folder) or folder.is_relative_to(named)


def _is_of_the_place(error: BaseException, path: Path) -> bool:
    if not isinstance(error, OSError) or error.errno not in _OF_THE_PLACE:
        return False
    if error.errno in (errno.EACCES, errno.EPERM) or isinstance(error, WriteError):
        return True
    target = Path(os.path.abspath(path))
    named = (error.filename, error.filename2)
    return any(
        target.is_relative_to(os.path.abspath(name)) for name in named if isinstance(name, str)
    )


def _probe(folder: Path) -> int | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(bytes(_PROBE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return error.errno if error.errno in _OF_THE_DISK else None
    return None


def _nearest_folder(folder: Path) -> Path:
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _describe_room(folder: Path) -> str:
    place = _nearest_folder(folder)
    free = f"{shutil.disk_usage(place).free / 1e6:.1f} MB free"
    counts = os.statvfs(place)
    is_out_of_names = counts.f_files > 0 and counts.f_favail == 0
    return f"{free}, but no room for one more file" if is_out_of_names else free
