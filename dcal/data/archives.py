"""Safe unpacking of tar and zip archives (ours).

Nothing that an archive says is trusted: members are written as new ordinary files below the target,
links inside the archive are written as copies, and everything else is refused.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from dcal.sentences import to_one_line

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
# Pictures hardly shrink in an archive, text tenfold; what grows more than this is not a data set.
MAX_EXPANSION = 100
ALWAYS_ALLOWED_BYTES = 1 << 26
CHUNK_BYTES = 1 << 20
MAX_LINK_HOPS = 16
_OPENERS: tuple[tuple[bytes, Callable[[Path, str], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)


class ArchiveError(ValueError):
    """An archive that is refused; the message is one sentence."""


@dataclass(frozen=True)
class _Member:
    """One file of an archive; `open` gives its bytes, links already followed."""

    name: str
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Tell by the file name whether `unpack` reads this file."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, target: Path, *, max_bytes: int | None = None) -> int:
    """Unpack a tar or zip archive below the empty folder `target` and count the files.

    More than `max_bytes` of content is refused; None = a hundred times the archive's own size, at
    least 64 MiB.

    Raises:
        ArchiveError: Not an archive, a damaged one, or one with a member that is refused.
        OSError: The disk is full.
    """
    if not is_archive(archive):
        raise ArchiveError(f"{archive}: expected an archive ({', '.join(ARCHIVE_SUFFIXES)})")
    if max_bytes is None:
        max_bytes = max(ALWAYS_ALLOWED_BYTES, MAX_EXPANSION * archive.stat().st_size)
    num_files = 0
    try:
        for member in _iterate(archive):
            path = target / _check_name(member.name, archive=archive)
            max_bytes -= _write(member, path, max_bytes=max_bytes, archive=archive)
            num_files += 1
    except ArchiveError:
        raise
    # What the readers let out on damaged bytes is not theirs alone: KeyError, OverflowError, ...
    except Exception as error:
        reason = _describe(error, archive)
        if reason is None:
            raise
        raise ArchiveError(f"{archive}: {reason}") from error
    return num_files


def _describe(error: Exception, archive: Path) -> str | None:
    """Return what is wrong with an archive, or None where it is the disk that fails."""
    if isinstance(error, (FileExistsError, NotADirectoryError, IsADirectoryError)):
        return f"holds a file and a folder of one name ({Path(error.filename).name})"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "holds a name that is too long for this disk"
    # Damaged numbers lead to places before a file's beginning, which is EINVAL.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return f"cannot be read ({error.strerror})" if error.filename == str(archive) else None
    reason = to_one_line(str(error)) or type(error).__name__
    return f"damaged or incomplete ({reason}); get it again"


def _iterate(archive: Path) -> Iterator[_Member]:
    if archive.name.lower().endswith(".zip"):
        yield from _iterate_zip(archive)
    else:
        yield from _iterate_tar(archive)


def _iterate_tar(archive: Path) -> Iterator[_Member]:
    with open(archive, "rb") as stream:
        start = stream.read(6)
    # By content, as tarfile itself would: many a .tar is compressed.
    opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), open)
    with opener(archive, "rb") as content, _open_tar_file(content) as tar:
        targets = _LinkTargets(tar)
        for member in tar:
            if not member.isdir():
                yield _Member(member.name, partial(_open_tar, tar, member, targets, archive))


def _open_tar_file(content: IO[bytes]) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=cast(IO[bytes], _ShortReads(content)))


class _ShortReads:
    """The bytes of a tar file, never many at once: headers are read whole, however long."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.seek, self.tell, self.close = content.seek, content.tell, content.close

    def read(self, num_bytes: int) -> bytes:
        """Read what tarfile asks for."""
        if num_bytes > 2 * CHUNK_BYTES:
            raise tarfile.ReadError(f"a header of {num_bytes} bytes")
        return self._content.read(num_bytes)


class _LinkTargets:
    """Members by their plain name; read only when the archive has a link at all."""

    def __init__(self, stream: tarfile.TarFile) -> None:
        self._stream = stream

    @cached_property
    def _members(self) -> dict[str, tarfile.TarInfo]:
        return {_resolve(PurePosixPath(item.name)): item for item in self._stream.getmembers()}

    def follow(self, link: tarfile.TarInfo) -> tarfile.TarInfo | None:
        # A hard link names its target from the archive's root, a symbolic one from its own folder.
        folder = PurePosixPath(link.name).parent if link.issym() else PurePosixPath()
        return self._members.get(_resolve(folder / link.linkname))


def _open_tar(
    stream: tarfile.TarFile, member: tarfile.TarInfo, targets: _LinkTargets, archive: Path
) -> IO[bytes]:
    found: tarfile.TarInfo | None = member
    for _ in range(MAX_LINK_HOPS):
        if found is None:
            break
        if found.isreg():
            content = stream.extractfile(found)
            assert content is not None
            return content
        if not (found.issym() or found.islnk()):
            break
        found = targets.follow(found)
    is_link = member.issym() or member.islnk()
    kind = "a link to no file of the archive" if is_link else "a device or pipe"
    raise ArchiveError(
        f"{archive}: {to_one_line(member.name)} is {kind}; such an archive is refused"
    )


def _iterate_zip(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as stream:
        for info in stream.infolist():
            if info.is_dir():
                continue
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise ArchiveError(
                    f"{archive}: {to_one_line(info.filename)} is a link or device; such an archive "
                    "is refused"
                )
            if info.flag_bits & 0x1:
                raise ArchiveError(
                    f"{archive}: encrypted; unpack it and set dataset.source to that"
                )
            yield _Member(info.filename, partial(stream.open, info))


def _resolve(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _check_name(name: str, *, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ArchiveError(
            f"{archive}: {name!r} would be written outside the target folder; "
            "such an archive is refused"
        )
    return path


def _write(member: _Member, path: Path, *, max_bytes: int, archive: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    num_bytes = 0
    with member.open() as source, open(path, "wb") as sink:
        while chunk := source.read(CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise ArchiveError(
                    f"{archive}: expands to far more than its own size; refused at "
                    f"{to_one_line(member.name)}"
                )
            sink.write(chunk)
    return num_bytes
