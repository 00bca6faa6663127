"""Where the pictures lie: fetched below data/raw, or the user's own folder in place (ours)."""

from __future__ import annotations

import json
from pathlib import Path

from dcal.config import DatasetConfig
from dcal.paths import raw_folder

# Kept out of git and of every result: it holds a path of this machine.
IN_PLACE_FILE = "source.json"


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
