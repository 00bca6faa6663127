"""From what a source lists to the checked table: every picture is looked at once (ours)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd

from dcal.config import DatasetConfig
from dcal.data.boxes import keep_boxes_inside
from dcal.data.identities import check_identities, describe_identities
from dcal.data.index import (
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    SPLITS,
    SPLITS_OF_KIND,
    IndexReport,
    compute_digest,
)
from dcal.data.measuring import measure_pictures
from dcal.data.partial import LEFT_OUT
from dcal.data.sources import SourceTable, get_source

MAX_LISTED = 20


def build_index(
    dataset: DatasetConfig, root: Path, *, on_picture: Callable[[int, int], None] | None = None
) -> tuple[pd.DataFrame, IndexReport]:
    """List a data set's pictures, look at each one once, and check the whole.

    `on_picture` is called with (done, total) as it goes.

    Raises:
        ValueError: Pictures that cannot be decoded (with `allow_partial`: so many that a class has
            none to train on), or a table that breaks the index's rules.
    """
    source = get_source(dataset).build_table(dataset, root)
    check_table(source, kind=dataset.kind)
    table, errors = measure_pictures(
        source.table, root, verify=dataset.verify, on_picture=on_picture
    )
    if len(errors):
        _require_allowed(errors, source, table, dataset)
    table, said_of_boxes = keep_boxes_inside(table)
    names = np.array([*source.class_names, ""])  # label -1 (no training class) takes the last
    table["class_name"] = names[table["label"]]
    table = _canonical(table)
    counts = table["split"].value_counts()
    warnings = [*source.warnings, *_describe_left_out(errors, source), *said_of_boxes]
    warnings += _find_copies(table)
    if dataset.kind == "reid":
        warnings += describe_identities(table)
    report = IndexReport(
        dataset=dataset.name,
        kind=dataset.kind,
        redistributable=dataset.redistributable,
        counts={split: int(counts[split]) for split in SPLITS if split in counts},
        num_left_out=len(errors),
        class_names=source.class_names,
        part_names=source.part_names,
        discriminative_parts=source.discriminative_parts,
        digest=compute_digest(table),
        warnings=warnings,
    )
    return table, report


def check_table(source: SourceTable, *, kind: Literal["fgvc", "reid"]) -> None:
    """Check what a source lists against the index's rules for `dataset.kind`.

    Raises:
        ValueError: One sentence on the first rule that is broken.
    """
    table = source.table
    allowed = set(REQUIRED_COLUMNS) | set(OPTIONAL_COLUMNS)
    if not {"path", "split", "label"} <= set(table.columns) <= allowed:
        raise ValueError(f"index columns: expected path, split, label; got {list(table.columns)}")
    if not set(table["split"]) <= set(SPLITS_OF_KIND[kind]):
        raise ValueError(
            f"index splits: expected {SPLITS_OF_KIND[kind]} for dataset.kind {kind}; "
            f"got {sorted(set(table['split']))}"
        )
    doubled = table["path"][table.duplicated(["split", "path"])]
    if len(doubled):
        raise ValueError(f"index paths: {len(doubled)} listed twice, such as {doubled.iloc[0]}")
    for path in map(PurePosixPath, table["path"]):
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"index paths: expected one below the raw root; got {path}")
    if kind == "reid":
        check_identities(table, num_classes=len(source.class_names))
    else:
        _check_labels(table, source.class_names)
    _check_class_names(source.class_names)
    unknown = set(source.discriminative_parts) - set(source.part_names)
    if unknown:
        raise ValueError(f"discriminative parts: {sorted(unknown)} are not among the part names")


def _check_class_names(names: Sequence[str]) -> None:
    known: dict[str, str] = {}
    for name in names:
        # Accents in one character or two look the same, and some file systems mix them up.
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in known:
            raise ValueError(
                f"class names: {known[plain]} and {name} are one name but for upper and lower case "
                "(or how accents are stored); rename one of the folders, or merge them"
            )
        known[plain] = name


def _check_labels(table: pd.DataFrame, class_names: Sequence[str]) -> None:
    num_classes = len(class_names)
    if num_classes < 2:
        raise ValueError(f"index labels: expected two classes at least; got {num_classes}")
    labels = set(table["label"])
    if not labels <= set(range(num_classes)):
        raise ValueError(
            f"index labels: expected 0..{num_classes - 1}, one a class name; got "
            f"{min(labels)}..{max(labels)}"
        )
    trained = set(table.loc[table["split"] == "train", "label"])
    lacking = [name for label, name in enumerate(class_names) if label not in trained]
    if lacking:
        raise ValueError(
            f"index labels: expected train pictures of every class; {len(lacking)} of "
            f"{num_classes} have none, and so can be neither learned nor scored: "
            f"{_list_some(lacking)}"
        )


def _require_allowed(
    errors: pd.Series, source: SourceTable, table: pd.DataFrame, dataset: DatasetConfig
) -> None:
    """Refuse pictures that cannot be used, unless they may be left out and enough others stay."""
    if not dataset.allow_partial:
        raise ValueError(
            f"{len(errors)} of {len(source.table)} pictures cannot be used; remove or replace "
            f"them, or set dataset.allow_partial to true: {_list_some(errors)}"
        )
    kept = set(table.loc[table["split"] == "train", "label"])
    lost = [name for label, name in enumerate(source.class_names) if label not in kept]
    if lost:
        raise ValueError(
            f"{len(lost)} classes have no training picture that can be used: {_list_some(lost)}; "
            f"replace them, or remove the class: {_list_some(errors)}"
        )
    for split in sorted(set(source.table["split"]) - set(table["split"])):
        raise ValueError(f"no {split} picture can be used; replace them: {_list_some(errors)}")


def _describe_left_out(errors: pd.Series, source: SourceTable) -> list[str]:
    """Name pictures by their place in the data set: a report tells nothing of this machine."""
    if errors.empty:
        return []
    paths = source.table.loc[errors.index, "path"]
    return [
        f"{LEFT_OUT} {len(errors)} of {len(source.table)} pictures, which cannot be used: "
        + _list_some(paths)
    ]


def _list_some(items: Iterable[str]) -> str:
    items = list(items)
    more = f"; and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return "; ".join(items[:MAX_LISTED]) + more


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
    val, test = (table.loc[table["split"] == split] for split in ("val", "test"))
    num_chosen_by = int(test["sha256"].isin(val["sha256"]).sum())
    if num_chosen_by:
        warnings.append(f"{num_chosen_by} of {len(test)} test pictures are also in val")
    num_labels = train.groupby("sha256")["label"].nunique()
    num_torn = int((num_labels > 1).sum())
    if num_torn:
        warnings.append(f"{num_torn} pictures are in train under more than one class")
    return warnings
