"""What there is of a data set on this machine, what is missing, and what would be done (ours)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dcal.config import DatasetConfig
from dcal.data.archives import is_archive
from dcal.data.index import read_index
from dcal.data.official import OfficialSet, describe_file
from dcal.data.partial import UNOFFICIAL
from dcal.data.raw import IN_PLACE_FILE, find_raw_root
from dcal.data.remote_file import Download, verify
from dcal.data.source_path import ARCHIVES, locate_source
from dcal.data.sources import SourceTable, describe_source, get_source
from dcal.paths import index_folder, raw_folder, work_root

DRAWN = ("birds", "vehicles")
USES = "lists and decodes the pictures, and goes on with them"
PARTIAL_STEP = (
    "get the whole set, or set dataset.allow_partial=true, which every table of results then tells"
)


@dataclass(frozen=True)
class Inventory:
    """What was found, line by line as (what, sentence)."""

    official: OfficialSet | None
    lines: list[tuple[str, str]]
    needs_source: bool  # dataset.source has to be set first
    next_step: str
    is_usable: bool  # pictures are there, with the official counts where there are any
    warnings: list[str] = field(default_factory=list)


def take_inventory(dataset: DatasetConfig) -> Inventory:
    """Look at what `fetch` and `prepare` have made or would start from; nothing is changed.

    Raises:
        ConfigError: Options that the source does not take.
        FileNotFoundError: `dataset.source` does not exist.
    """
    official = describe_source(dataset)
    lines = list(_describe_origin(dataset, official))
    root = _find_root(dataset, official)
    if root is None:
        lines.append(("pictures", f"not there: {raw_folder(dataset.name)}"))
        lines.append(_describe_index(dataset))
        comes_by_itself = official.is_fetched if official else dataset.source_type in DRAWN
        is_given = dataset.source is not None or comes_by_itself
        step = f"dvc repro fetches, {USES}"
        return Inventory(official, lines, not is_given, step, is_usable=False)
    try:
        table = list_pictures(dataset, root)
    except (ValueError, OSError) as error:
        lines.append(("pictures", f"cannot be used: {error}"))
        step = "set that right, and check again"
        return Inventory(official, lines, needs_source=False, next_step=step, is_usable=False)
    lines.append(("pictures", _describe_table(table, dataset, root)))
    lines.append(_describe_index(dataset))
    is_unofficial = any(warning.startswith(UNOFFICIAL) for warning in table.warnings)
    is_partial = is_unofficial and not dataset.allow_partial
    step = PARTIAL_STEP if is_partial else f"dvc repro {USES}"
    return Inventory(official, lines, False, step, not is_partial, table.warnings)


def list_pictures(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the pictures of the official splits, whatever their counts, without opening any.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: An annotation that cannot be used.
    """
    allowing = dataset.model_copy(update={"allow_partial": True, "val_ratio": 0.0})
    return get_source(dataset).build_table(allowing, root)


def _find_root(dataset: DatasetConfig, official: OfficialSet | None) -> Path | None:
    """Return the folder that would be listed: the user's own, or as fetched.

    A folder of the user's is listed itself, unless it holds official archives: those are unpacked.
    """
    if dataset.source is not None and (source := locate_source(dataset)).is_dir():
        files = official.files if official is not None else ()
        archives = [source / file.file_name for file in files]
        holds_archives = any(is_archive(path) and path.is_file() for path in archives)
        fetched = raw_folder(dataset.name)
        is_unpacked = fetched.is_dir() and not (fetched / IN_PLACE_FILE).exists()
        return fetched if holds_archives and is_unpacked else source
    if raw_folder(dataset.name).is_dir():
        return find_raw_root(dataset.name)
    return None


def _describe_origin(
    dataset: DatasetConfig, official: OfficialSet | None
) -> Iterator[tuple[str, str]]:
    if dataset.source is not None:
        path = locate_source(dataset)
        kind = "a folder, used in place" if path.is_dir() else "an archive, unpacked by fetch"
        yield "source", f"{path}: {kind}"
    elif official is None:
        drawn = dataset.source_type in DRAWN
        yield "source", "drawn by fetch" if drawn else "dataset.source is null: set it to yours"
    elif not official.is_fetched:
        yield "source", f"dataset.source is null: set it to yours, which holds {official.layout}"
    if official is None:
        return
    for file in official.files:
        yield "file", _describe_file(file, dataset, official)


def _describe_file(file: Download, dataset: DatasetConfig, official: OfficialSet) -> str:
    told = describe_file(file)
    folder = _find_archives(dataset)
    path = folder / file.file_name
    if path.is_file():
        return f"{told}: {'there, checksum right' if verify(file, path) else f'{path} is another'}"
    if dataset.source is not None:
        return f"{told}: not in {folder}"
    if not official.is_fetched:
        return f"{told}: not downloaded"
    free = shutil.disk_usage(_find_existing(folder)).free
    return f"{told}: would be downloaded to {ARCHIVES}; {free / 1e9:,.0f} GB are free"


def _find_archives(dataset: DatasetConfig) -> Path:
    if dataset.source is None:
        return work_root() / ARCHIVES
    source = locate_source(dataset)
    return source if source.is_dir() else source.parent


def _find_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _describe_table(source: SourceTable, dataset: DatasetConfig, root: Path) -> str:
    counts = source.table["split"].value_counts()
    shown = ", ".join(f"{counts[split]} {split}" for split in counts.index)
    groups = "train identities" if dataset.kind == "reid" else "classes"
    return f"{len(source.table)} in {root}: {shown}; {len(source.class_names)} {groups}"


def _describe_index(dataset: DatasetConfig) -> tuple[str, str]:
    folder = index_folder(dataset.name)
    try:
        table, report = read_index(folder)
    except (ValueError, OSError):
        return "index", f"not there: {folder}"
    left_out = f", {report.num_left_out} left out" if report.num_left_out else ""
    return "index", f"{len(table)} pictures in {folder}{left_out}, {len(report.warnings)} warnings"
