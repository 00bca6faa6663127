"""The one table that every data set becomes: a row a picture, checked, with a digest (ours)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dcal.config import DatasetConfig, Section
from dcal.data.images import load_image
from dcal.data.sources import SourceTable, get_source
from dcal.paths import compute_file_digest, replace_folder, write_json

SPLITS = ("train", "val", "test", "query", "gallery")
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
    "mask": "str",
    "part_names": "object",
    "part_xs": "object",
    "part_ys": "object",
}
MAX_LISTED = 20


class IndexReport(Section):
    """What `prepare` found; report.json beside index.parquet."""

    dataset: str
    kind: str
    redistributable: bool
    counts: dict[str, int]  # pictures by split
    class_names: list[str]  # in label order
    part_names: list[str]  # a mask's pixel value i + 1 is part i
    discriminative_parts: list[str]
    digest: str  # sha256 of the table, independent of row order and machine
    warnings: list[str]

    @property
    def num_classes(self) -> int:
        """Count the classes, those without a test picture included."""
        return len(self.class_names)


class _Measure(NamedTuple):
    width: int
    height: int
    sha256: str
    error: str


def build_index(
    dataset: DatasetConfig, root: Path, *, on_picture: Callable[[int, int], None] | None = None
) -> tuple[pd.DataFrame, IndexReport]:
    """List a data set's pictures, decode each one once, and check the whole.

    `on_picture` is called with (done, total) as it goes.

    Raises:
        ValueError: Pictures that cannot be decoded, or a table that breaks the index's rules.
    """
    source = get_source(dataset).build_table(dataset, root)
    check_table(source)
    table = _measure_pictures(source.table, root, on_picture=on_picture)
    names = np.array([*source.class_names, ""])  # label -1 (no training class) takes the last
    table["class_name"] = names[table["label"]]
    table = _canonical(table)
    counts = table["split"].value_counts()
    report = IndexReport(
        dataset=dataset.name,
        kind=dataset.kind,
        redistributable=dataset.redistributable,
        counts={split: int(counts[split]) for split in SPLITS if split in counts},
        class_names=source.class_names,
        part_names=source.part_names,
        discriminative_parts=source.discriminative_parts,
        digest=compute_digest(table),
        warnings=[*source.warnings, *_find_copies(table)],
    )
    return table, report


def check_table(source: SourceTable) -> None:
    """Check what a source lists against the index's rules.

    Raises:
        ValueError: One sentence on the first rule that is broken.
    """
    table = source.table
    allowed = set(REQUIRED_COLUMNS) | set(OPTIONAL_COLUMNS)
    if not {"path", "split", "label"} <= set(table.columns) <= allowed:
        raise ValueError(f"index columns: expected path, split, label; got {list(table.columns)}")
    if not set(table["split"]) <= set(SPLITS):
        raise ValueError(f"index splits: expected {SPLITS}; got {sorted(set(table['split']))}")
    doubled = table["path"][table.duplicated(["split", "path"])]
    if len(doubled):
        raise ValueError(f"index paths: {len(doubled)} listed twice, such as {doubled.iloc[0]}")
    for path in map(PurePosixPath, table["path"]):
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"index paths: expected one below the raw root; got {path}")
    _check_labels(table, num_classes=len(source.class_names))
    if len(set(source.class_names)) != len(source.class_names):
        raise ValueError("class names: two classes have one name")
    unknown = set(source.discriminative_parts) - set(source.part_names)
    if unknown:
        raise ValueError(f"discriminative parts: {sorted(unknown)} are not among the part names")


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
    """
    if not (folder / "index.parquet").is_file() or not (folder / "report.json").is_file():
        raise FileNotFoundError(f"{folder}: no index there; run: python -m pipelines.prepare")
    text = (folder / "report.json").read_text(encoding="utf-8")
    table = pd.read_parquet(folder / "index.parquet")
    return table, IndexReport.model_validate_json(text)


def _check_labels(table: pd.DataFrame, *, num_classes: int) -> None:
    train_labels = set(table.loc[table["split"] == "train", "label"])
    if num_classes < 2 or train_labels != set(range(num_classes)):
        raise ValueError(
            f"index labels: expected train pictures of every class 0..{num_classes - 1}, and two "
            f"classes at least; got pictures of {len(train_labels)} classes"
        )
    scored = set(table.loc[table["split"].isin(["val", "test"]), "label"])
    if not scored <= train_labels:
        raise ValueError(f"index labels: {sorted(scored - train_labels)} are not in train")


def _measure_pictures(
    table: pd.DataFrame, root: Path, *, on_picture: Callable[[int, int], None] | None
) -> pd.DataFrame:
    rows = table.to_dict("records")
    measures: list[_Measure] = []
    # Threads are enough: Pillow and hashlib let go of the interpreter while they work.
    with ThreadPoolExecutor() as pool:
        for measure in pool.map(lambda row: _measure(row, root), rows):
            measures.append(measure)
            if on_picture is not None:
                on_picture(len(measures), len(rows))
    errors = [measure.error for measure in measures if measure.error]
    if errors:
        more = f"; and {len(errors) - MAX_LISTED} more" if len(errors) > MAX_LISTED else ""
        raise ValueError(
            f"{len(errors)} of {len(rows)} pictures cannot be used; remove or replace them: "
            + "; ".join(errors[:MAX_LISTED])
            + more
        )
    found = pd.DataFrame(measures, index=table.index).drop(columns="error")
    return pd.concat([table, found], axis="columns")


def _measure(row: Mapping[Hashable, Any], root: Path) -> _Measure:
    path = root / row["path"]
    try:
        width, height = load_image(path).size
        mask = row.get("mask")
        if isinstance(mask, str):
            with Image.open(root / mask) as opened:
                if opened.size != (width, height):
                    raise OSError(f"{root / mask}: expected the picture's size, got {opened.size}")
        return _Measure(width, height, compute_file_digest(path), error="")
    except OSError as error:
        return _Measure(0, 0, "", error=str(error))


def _canonical(table: pd.DataFrame) -> pd.DataFrame:
    present = {name: kind for name, kind in OPTIONAL_COLUMNS.items() if name in table}
    columns = {**REQUIRED_COLUMNS, **present}
    ordered = table.reindex(columns=list(columns)).astype(columns)
    ranks = ordered["split"].map({split: rank for rank, split in enumerate(SPLITS)})
    order = ordered.assign(rank=ranks).sort_values(["rank", "path"]).index
    return ordered.loc[order].reset_index(drop=True)


def _find_copies(table: pd.DataFrame) -> list[str]:
    """Count pictures that are byte for byte in two places where that flatters or confuses."""
    warnings = []
    train = table.loc[table["split"] == "train"]
    for split in SPLITS[1:]:
        part = table.loc[table["split"] == split]
        num_copies = int(part["sha256"].isin(train["sha256"]).sum())
        if num_copies:
            warnings.append(f"{num_copies} of {len(part)} {split} pictures are also in train")
    num_labels = train.groupby("sha256")["label"].nunique()
    num_torn = int((num_labels > 1).sum())
    if num_torn:
        warnings.append(f"{num_torn} pictures are in train under more than one class")
    return warnings


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
