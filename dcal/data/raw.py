"""Where the pictures lie: fetched below data/raw, or the user's own folder in place (ours)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from dcal.config import DatasetConfig
from dcal.data.archives import ARCHIVE_SUFFIXES, is_archive, unpack
from dcal.data.sources import check_options, get_source
from dcal.paths import raw_folder, replace_folder, work_root, write_json

logger = logging.getLogger(__name__)

# Kept out of git and of every result: it holds a path of this machine.
IN_PLACE_FILE = "source.json"


def fetch_dataset(dataset: DatasetConfig) -> Path:
    """Bring the pictures to data/raw/<name>, whole or not at all, and return that folder.

    Raises:
        ConfigError: The data set's name, source type or options cannot be used.
        OSError: The pictures cannot be had.
        ValueError: The archive cannot be used, or the source lies where fetching would delete it.
    """
    check_options(dataset)
    folder = raw_folder(dataset.name)
    _require_safe(dataset, folder)
    with replace_folder(folder) as target:
        get_source(dataset).fetch(dataset, target)
    return folder


def raw_root(dataset: DatasetConfig) -> Path:
    """Return the folder that the index's paths start from; see `find_raw_root`."""
    return find_raw_root(dataset.name)


def find_raw_root(dataset_name: str) -> Path:
    """Return the folder that the index's paths start from.

    Raises:
        FileNotFoundError: Nothing was fetched, or the user's folder is gone.
    """
    folder = raw_folder(dataset_name)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; run: python -m pipelines.fetch")
    record = folder / IN_PLACE_FILE
    if not record.exists():
        return folder
    root = Path(json.loads(record.read_text(encoding="utf-8"))["path"])
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: the folder of dataset {dataset_name} is gone; set dataset.source anew and "
            "run: python -m pipelines.fetch"
        )
    return root


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
    path = _find(dataset.source)
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


def _find(source: str) -> Path | None:
    path = Path(source).expanduser()
    for base in (Path.cwd(), work_root()):
        if (base / path).exists():
            return (base / path).resolve()
    return None


def _require_safe(dataset: DatasetConfig, folder: Path) -> None:
    """Refuse what would make replacing `folder` delete something that is not fetched."""
    # A source that does not exist is the data set's own business: some take none.
    source = _find(dataset.source) if dataset.source is not None else None
    if source is not None and source.is_relative_to(folder.resolve()):
        raise ValueError(
            f"dataset.source: {source} lies in {folder}, which fetch replaces; move it elsewhere "
            "or choose another dataset.name"
        )


def _list_files(folder: Path) -> Iterator[tuple[str, int]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            # A dangling link is listed too: whoever repairs it changes the digest.
            num_bytes = path.stat().st_size if path.exists() else -1
            yield path.relative_to(folder).as_posix(), num_bytes
