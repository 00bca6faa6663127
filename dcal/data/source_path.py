"""What `dataset.source` names: the user's own folder, used in place, or archives (ours)."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dcal.config import DatasetConfig
from dcal.data.archives import ARCHIVE_SUFFIXES, is_archive, unpack
from dcal.data.download import download
from dcal.data.official import OfficialSet
from dcal.data.raw import IN_PLACE_FILE
from dcal.data.remote_file import verify
from dcal.paths import work_root, write_json

logger = logging.getLogger(__name__)
ARCHIVES = Path("data/archives")  # of the work root


def fetch_source(
    dataset: DatasetConfig, target: Path, official: OfficialSet, *, unpacked: tuple[str, ...]
) -> None:
    """Fill `target` from `dataset.source`, or from the official address where there is one.

    The source is a folder of the set (used in place), one archive, or a folder that holds the
    set's official archives, which are then unpacked beside each other. `unpacked` are names that
    tell a folder of the set from one of archives.

    Raises:
        FileNotFoundError: The source is null and nothing is downloaded, or does not exist.
        OSError: A download that failed.
        ValueError: An archive that is refused, or an official file with other bytes.
    """
    if dataset.source is not None:
        path = locate_source(dataset)
        held = [file for file in official.files if (path / file.file_name).is_file()]
        if not held or any((path / name).exists() for name in unpacked):
            use_source(dataset, target)
            return
        for file in held:
            _take(path / file.file_name, target, is_official=verify(file, path / file.file_name))
        return
    if not official.is_fetched:
        raise FileNotFoundError(official.describe_request())
    logger.info("terms: %s", official.terms)
    for file in official.files:
        unpack(download(file, work_root() / ARCHIVES), target)


def use_source(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archive into `target`, or note there that the user's folder is used.

    A folder is not copied: `target` then holds its path and the digest of its listing, so that
    the stages after it run again when the folder changes.

    Raises:
        FileNotFoundError: `dataset.source` does not exist.
        ValueError: It is neither a folder nor an archive, or the archive is refused.
    """
    path = locate_source(dataset)
    if path.is_dir():
        record = {"path": str(path), "listing_sha256": compute_listing_digest(path)}
        write_json(target / IN_PLACE_FILE, record)
        logger.info("%s: used in place", path)
    elif is_archive(path):
        num_files = unpack(path, target)
        logger.info("%s: unpacked, %d files", path, num_files)
    else:
        raise ValueError(
            f"dataset.source: expected a folder or an archive ({', '.join(ARCHIVE_SUFFIXES)}); "
            f"got the file {path}"
        )


def _take(path: Path, target: Path, *, is_official: bool) -> None:
    """Unpack one official archive, or copy a file that is none, such as a list."""
    if not is_official:
        raise ValueError(
            f"{path}: expected the official file, whose size and checksum this one does not have; "
            "get it again, or unpack it yourself and set dataset.source to that folder"
        )
    if is_archive(path):
        logger.info("%s: unpacked, %d files", path, unpack(path, target))
    else:
        shutil.copyfile(path, target / path.name)


def locate_source(dataset: DatasetConfig) -> Path:
    """Return the absolute path of `dataset.source`.

    A relative path starts at the current directory or, where that has no such thing (a temporary
    DVC experiment), at the work root.

    Raises:
        FileNotFoundError: It is null or does not exist.
    """
    if dataset.source is None:
        raise FileNotFoundError(
            f"dataset.source: expected the folder or archive of dataset {dataset.name}, got null"
        )
    path = find_path(dataset.source)
    if path is None:
        raise FileNotFoundError(
            f"dataset.source: expected an existing folder or archive; {dataset.source} does not "
            "exist (a relative path starts at the project's folder)"
        )
    return path


def compute_listing_digest(folder: Path) -> str:
    """Return a sha256 over the relative names and sizes of all files below a folder.

    Cheap enough to compute before every run; a file whose bytes change at an equal size is only
    noticed by `prepare`, which reads every picture.
    """
    digest = hashlib.sha256()
    for name, num_bytes in sorted(_list_files(folder)):
        digest.update(f"{name}\0{num_bytes}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def find_path(source: str) -> Path | None:
    """Return where a path leads from the current directory or the work root; None = nowhere."""
    path = Path(source).expanduser()
    for base in (Path.cwd(), work_root()):
        if os.path.exists(base / path):  # not Path.exists, which lets out that a name is too long
            return (base / path).resolve()
    return None


def _list_files(folder: Path) -> Iterator[tuple[str, int]]:
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        # Links are followed, as the sources follow them, but into no folder twice.
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            path = Path(parent, name)
            # A dangling link is listed too: whoever repairs it changes the digest.
            num_bytes = path.stat().st_size if path.exists() else -1
            yield path.relative_to(folder).as_posix(), num_bytes
