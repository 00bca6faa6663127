"""Pictures decoded and resized once, in one file that loaders read instead (ours).

    data/cached/<name>/
        pixels.bin     8-bit RGB, (picture, height, width, channel); picture i is row i of the index
        pixels.json    what that holds, see `CacheRecord`

The folder lies in the work root, outside git and DVC: it can be made again bit for bit.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from dcal.config import CacheConfig, Section
from dcal.data.images import load_image
from dcal.data.index import list_cuts
from dcal.data.transforms import Transform, build_resize
from dcal.paths import cached_root, compute_code_digest, replace_folder, write_json
from dcal.sentences import to_one_line

logger = logging.getLogger(__name__)

PIXELS, RECORD = "pixels.bin", "pixels.json"
_CHANNELS = 3
_PICTURES_A_TASK = 16
# What decodes and resizes.
_CODE = tuple(Path(__file__).with_name(name) for name in ("cached.py", "images.py"))
_PREPARE = "run: python -m pipelines.prepare"

OnPicture = Callable[[int, int], None]


class CacheRecord(Section):
    """What a file of pixels holds; equal records mean equal bytes."""

    resize: tuple[int, int]  # (height, width)
    interpolation: str
    index_digest: str
    num_pictures: int
    made_by: dict[str, str]  # versions of what decodes and resizes

    @property
    def num_bytes(self) -> int:
        """Count the bytes of the file of pixels."""
        return self.num_pictures * self.resize[0] * self.resize[1] * _CHANNELS


class _Identity(NamedTuple):
    """Which file it is, so that another one of the same name is told apart."""

    device: int
    inode: int
    num_bytes: int
    modified_ns: int


class CachedPictures:
    """Reads pictures of an index from its file of pixels, which each process maps by itself."""

    def __init__(self, path: Path, record: CacheRecord) -> None:
        self.path = path
        self.record = record
        self._identity = _identify(path)
        self._pixels: NDArray[np.uint8] | None = None
        self._is_gone = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave the map out: a worker that is spawned would be sent all its pixels."""
        return {**self.__dict__, "_pixels": None}

    def serves(self, transform: Transform) -> bool:
        """Say whether these pictures are what the transform's first step would make."""
        made = (self.record.resize, self.record.interpolation)
        return made == (transform.resize, transform.interpolation) and not transform.is_reduced

    def read(self, row: int) -> Image.Image | None:
        """Return the picture of a row of the index; None where the file is not the one it was."""
        if self._pixels is None and not self._is_gone:
            self._open()
        return None if self._pixels is None else Image.fromarray(self._pixels[row])

    def _open(self) -> None:
        try:
            with self.path.open("rb") as stream:
                if _identify(stream.fileno()) == self._identity:
                    shape = (self.record.num_pictures, *self.record.resize, _CHANNELS)
                    self._pixels = np.memmap(stream, np.uint8, "r", shape=shape)
                    return
        except FileNotFoundError:
            pass
        self._is_gone = True
        logger.warning(
            "%s: removed or replaced while it was in use; pictures are decoded instead",
            _show(self.path.parent),
        )


def open_cache(
    dataset_name: str, cache: CacheConfig, *, index_digest: str, num_pictures: int
) -> CachedPictures | None:
    """Open the pictures that `prepare` resized.

    Returns:
        None, after a warning that says what to run, where there are none, or others than wanted.
    """
    folder = cached_root() / dataset_name
    wanted = _describe(cache, index_digest=index_digest, num_pictures=num_pictures)
    problem = _find_problem(folder, wanted)
    if problem is not None:
        logger.warning("%s: %s; pictures are decoded instead; %s", _show(folder), problem, _PREPARE)
        return None
    with suppress(OSError):  # where it may only be read, its age is that of its making
        os.utime(folder / RECORD)
    return CachedPictures(folder / PIXELS, wanted)


def write_cache(
    dataset_name: str,
    cache: CacheConfig,
    *,
    table: pd.DataFrame,
    root: Path,
    index_digest: str,
    on_picture: OnPicture | None = None,
) -> bool:
    """Decode and resize the pictures of an index, all cores at work, and keep them.

    Args:
        dataset_name: Names the folder.
        cache: What to make.
        table: All rows of the index.
        root: What their paths start from.
        index_digest: Of that index.
        on_picture: Called with (done, total) as it goes.

    Returns:
        False where they were there already.

    Raises:
        OSError: Too little room, or a picture that is gone or damaged since it was listed.
    """
    folder = cached_root() / dataset_name
    record = _describe(cache, index_digest=index_digest, num_pictures=len(table))
    if _find_problem(folder, record) is None:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    _require_room(folder, record)
    with replace_folder(folder) as target:
        cuts = list_cuts(table)
        files = [(root / path, cut) for path, cut in zip(table["path"], cuts, strict=True)]
        _write_pixels(target / PIXELS, files, record, on_picture=on_picture)
        write_json(target / RECORD, record.model_dump())
    return True


class KeptCache(NamedTuple):
    """A data set's resized pictures, as `make gc` shows them."""

    folder: Path
    num_bytes: int
    idle_seconds: float  # since they were last opened

    def free(self) -> int:
        """Remove them and return the bytes; a process that reads them goes on reading."""
        shutil.rmtree(self.folder)
        return self.num_bytes


def list_caches() -> list[KeptCache]:
    """Return the resized pictures of every data set, the largest first."""
    kept = []
    for folder in cached_root().glob("[!.]*"):
        files = [path.stat() for path in folder.glob("*")]
        idle = time.time() - max((file.st_mtime for file in files), default=0.0)
        kept.append(KeptCache(folder, sum(file.st_size for file in files), max(0.0, idle)))
    return sorted(kept, key=lambda cache: cache.num_bytes, reverse=True)


def _show(folder: Path) -> str:
    """Name a folder without a path of this machine: warnings are kept with results."""
    return f"data/cached/{folder.name}"


def _describe(cache: CacheConfig, *, index_digest: str, num_pictures: int) -> CacheRecord:
    codecs = {name: features.version(name) for name in ("jpg", "libjpeg_turbo", "webp", "avif")}
    return CacheRecord(
        resize=cache.resize,
        interpolation=cache.interpolation,
        index_digest=index_digest,
        num_pictures=num_pictures,
        made_by={
            "pillow": PIL.__version__,
            "code": compute_code_digest(list(_CODE)),
            **{name: version for name, version in codecs.items() if version is not None},
        },
    )


def _find_problem(folder: Path, wanted: CacheRecord) -> str | None:
    """Say why what is kept cannot stand for the wanted pictures; None where it can."""
    if not (folder / PIXELS).is_file() or not (folder / RECORD).is_file():
        return "no resized pictures there"
    try:
        kept = CacheRecord.model_validate_json((folder / RECORD).read_bytes())
    except (ValueError, OSError) as error:
        return f"{RECORD} is damaged ({to_one_line(str(error))})"
    for what, key in (
        ("pictures of another index", "index_digest"),
        ("pictures of another index", "num_pictures"),
        ("pictures of another size", "resize"),
        ("pictures resized by another interpolation", "interpolation"),
        ("pictures made by another version of Pillow or of this code", "made_by"),
    ):
        if getattr(kept, key) != getattr(wanted, key):
            return what
    num_bytes = (folder / PIXELS).stat().st_size
    if num_bytes != wanted.num_bytes:
        return f"{PIXELS} is damaged (expected {wanted.num_bytes} bytes, got {num_bytes})"
    return None


def _require_room(folder: Path, record: CacheRecord) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < record.num_bytes:
        height, width = record.resize
        raise OSError(
            f"{folder}: {record.num_pictures} pictures of {height} x {width} take "
            f"{record.num_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there; make room, "
            "or set dataset.cache to null"
        )


def _write_pixels(
    path: Path,
    files: Sequence[tuple[Path, int]],
    record: CacheRecord,
    *,
    on_picture: OnPicture | None,
) -> None:
    resize = build_resize(record.resize, record.interpolation)
    num_bytes = record.num_bytes // record.num_pictures

    def write(rows: range) -> int:
        for row in rows:
            file, cut = files[row]
            pixels = resize(load_image(file, cut_bottom=cut)).tobytes()
            _write_at(handle, pixels, row * num_bytes)
        return len(rows)

    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    # Threads are enough: Pillow lets go of the interpreter while it works.
    try:
        with ThreadPoolExecutor() as pool:
            num_done = 0
            for num_written in pool.map(write, _split(len(files))):
                num_done += num_written
                if on_picture is not None:
                    on_picture(num_done, len(files))
    finally:
        os.close(handle)


def _write_at(handle: int, content: bytes, offset: int) -> None:
    written = 0
    while written < len(content):  # a full disk takes a part first
        written += os.pwrite(handle, content[written:], offset + written)


def _split(num_rows: int) -> Iterator[range]:
    for start in range(0, num_rows, _PICTURES_A_TASK):
        yield range(start, min(start + _PICTURES_A_TASK, num_rows))


def _identify(file: Path | int) -> _Identity:
    status = os.stat(file)
    return _Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
