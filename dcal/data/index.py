"""The one table that every data set becomes: a row a picture, checked, with a digest (ours)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dcal.config import Section
from dcal.data.partial import list_partial
from dcal.paths import replace_folder, write_json
from dcal.sentences import to_one_line

SPLITS = ("train", "val", "test", "query", "gallery")
SPLITS_OF_KIND = {
    "fgvc": ("train", "val", "test"),
    "reid": ("train", "val", "query", "gallery"),
}
# Column -> dtype, in the order of the file. Re-ID fills identity, camera and view.
REQUIRED_COLUMNS = {
    "path": "str",
    "split": "str",
    "label": "int64",
    "class_name": "str",
    "identity": "Int64",
    "camera": "Int64",
    "view": "Int64",
    "width": "int64",
    "height": "int64",
    "sha256": "str",
}
OPTIONAL_COLUMNS = {
    "box_x": "float64",
    "box_y": "float64",
    "box_width": "float64",
    "box_height": "float64",
    "cut_bottom": "int64",  # rows of pixels that are no part of the picture, such as a banner
    "mask": "str",
    "part_names": "object",
    "part_xs": "object",
    "part_ys": "object",
}


class IndexReport(Section):
    """What `prepare` found; report.json beside index.parquet."""

    dataset: str
    kind: str
    redistributable: bool
    counts: dict[str, int]  # pictures by split
    num_left_out: int  # could not be decoded, and dataset.allow_partial is true
    class_names: list[str]  # in label order; Re-ID: the train identities
    part_names: list[str]  # a mask's pixel value i + 1 is part i
    discriminative_parts: list[str]
    digest: str  # sha256 of the table, independent of row order and machine
    warnings: list[str]

    @property
    def partial(self) -> list[str]:
        """Return the warnings that say that this is not the whole set, or not the official one."""
        return list_partial(self.warnings)

    @property
    def num_classes(self) -> int:
        """Count the classes, those without a test picture included."""
        return len(self.class_names)


def list_cuts(table: pd.DataFrame) -> list[int]:
    """Return for each row how many rows of pixels at the bottom are no part of the picture."""
    return table["cut_bottom"].tolist() if "cut_bottom" in table else [0] * len(table)


def compute_digest(table: pd.DataFrame) -> str:
    """Return a sha256 of the table's content, independent of row order, dtypes and machine."""
    digest = hashlib.sha256()
    ordered = table.sort_values(["split", "path"])
    columns = sorted(ordered.columns)
    for row in zip(*(ordered[column] for column in columns), strict=True):
        values = {name: _plain(value) for name, value in zip(columns, row, strict=True)}
        digest.update(json.dumps(values, allow_nan=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def write_index(folder: Path, table: pd.DataFrame, report: IndexReport) -> None:
    """Write index.parquet and report.json, the folder as a whole or not at all."""
    with replace_folder(folder) as target:
        table.to_parquet(target / "index.parquet", index=False)
        write_json(target / "report.json", report.model_dump())


def read_index(folder: Path) -> tuple[pd.DataFrame, IndexReport]:
    """Read what `write_index` wrote.

    Raises:
        FileNotFoundError: `prepare` has not run for this data set.
        ValueError: The files are damaged, or those of another version.
    """
    if not (folder / "index.parquet").is_file() or not (folder / "report.json").is_file():
        raise FileNotFoundError(f"{folder}: no index there; run: python -m pipelines.prepare")
    try:
        text = (folder / "report.json").read_text(encoding="utf-8")
        return pd.read_parquet(folder / "index.parquet"), IndexReport.model_validate_json(text)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{folder}: the index is damaged or of another version "
            f"({to_one_line(str(error))}); run: python -m pipelines.prepare"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
