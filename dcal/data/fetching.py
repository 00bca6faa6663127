"""A data set's pictures are brought to data/raw/<name>, whole or not at all (ours)."""

from __future__ import annotations

from pathlib import Path

from dcal.config import DatasetConfig
from dcal.data.source_path import find_path
from dcal.data.sources import check_options, get_source
from dcal.paths import raw_folder, replace_folder


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


def _require_safe(dataset: DatasetConfig, folder: Path) -> None:
    """Refuse what would make replacing `folder` delete something that is not fetched."""
    # A source that does not exist is the data set's own business: some take none.
    source = find_path(dataset.source) if dataset.source is not None else None
    if source is not None and source.is_relative_to(folder.resolve()):
        raise ValueError(
            f"dataset.source: {source} lies in {folder}, which fetch replaces; move it elsewhere "
            "or choose another dataset.name"
        )
