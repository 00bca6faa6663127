"""CUB-200-2011: 200 bird species with boxes and 15 part locations (Wah et al. 2011).

The official layout, joined by image_id: the folder and the files spell species differently, and
stray pictures lie beside the listed ones, so nothing is ever globbed or built from names.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.archives import unpack
from dcal.data.download import Download, download
from dcal.data.raw import use_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.splits import hold_out
from dcal.paths import work_root

# The address is the one that CaltechDATA shows; it could not be tried where this was written.
ARCHIVE = Download(
    file_name="CUB_200_2011.tgz",
    urls=("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",),
    checksum="sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
    num_bytes=1_150_585_339,
)
OFFICIAL_COUNTS = {"train": 5994, "test": 5794, "classes": 200}
TOP_FOLDER = "CUB_200_2011"
BOX_COLUMNS = ("box_x", "box_y", "box_width", "box_height")


class Options(Section):
    """CUB needs no options of its own."""


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Use the user's folder or archive, or download the official one and unpack it.

    The archive is kept in data/archives of the work root, so that fetching again is cheap.
    """
    if dataset.source is not None:
        use_source(dataset, target)
        return
    archive = download(ARCHIVE, work_root() / "data" / "archives")
    unpack(archive, target)


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """Join the official text files into one row a picture.

    Part columns hold the visible parts only. Pictures in the train half of train_test_split.txt
    are split further by `dataset.val_ratio`, because CUB has no val split of its own.

    Raises:
        FileNotFoundError: An official text file is missing.
        ValueError: A line that is no record, an id without its record, or unofficial counts.
    """
    parse_options(dataset, Options)
    top = _find_top(root)
    images = _read_records(top / "images.txt", ["path"])
    classes = _read_records(top / "classes.txt", ["class_name"])
    table = images.join(
        [
            _read_records(top / "image_class_labels.txt", ["class_id"]).astype(int),
            _read_records(top / "train_test_split.txt", ["is_training"]).astype(int),
            _read_records(top / "bounding_boxes.txt", list(BOX_COLUMNS)).astype(float),
        ]
    )
    _require_complete(table, classes, top=top)
    names = _read_records(top / "parts" / "parts.txt", ["name"])["name"]
    table = table.join(_read_parts(top / "parts" / "part_locs.txt", names, table.index))
    labels = {class_id: label for label, class_id in enumerate(classes.index)}
    prefix = (top / "images").relative_to(root).as_posix()
    table["path"] = prefix + "/" + table["path"]
    table["label"] = table["class_id"].map(labels)
    table["split"] = table["is_training"].map({1: "train", 0: "test"})
    table = table.drop(columns=["class_id", "is_training"]).reset_index(drop=True)
    warnings = _check_counts(table, len(classes), allow_partial=dataset.allow_partial)
    return SourceTable(
        hold_out(table, ratio=dataset.val_ratio, seed=dataset.split_seed),
        list(classes["class_name"]),
        part_names=list(names),
        # CUB does not say which parts tell species apart: a hit on any of them counts.
        discriminative_parts=list(names),
        warnings=warnings,
    )


def _find_top(root: Path) -> Path:
    for top in (root, root / TOP_FOLDER):
        if (top / "images.txt").is_file():
            return top
    raise FileNotFoundError(
        f"{root}: expected images.txt of CUB-200-2011 there or in {TOP_FOLDER}; set dataset.source "
        f"to the folder or archive that {ARCHIVE.file_name} holds, or to null to download it"
    )


def _read_records(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read `id field ...` lines; the last field keeps its blanks."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; it is part of the official CUB-200-2011 archive")
    records: dict[int, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        key, *fields = line.strip().split(" ", maxsplit=len(columns))
        if not key.isdecimal() or len(fields) != len(columns) or int(key) in records:
            raise ValueError(
                f"{path}:{number}: expected a new id and {', '.join(columns)}; got {line!r}"
            )
        records[int(key)] = fields
    return pd.DataFrame.from_dict(records, orient="index", columns=columns).sort_index()


def _read_parts(path: Path, names: pd.Series, image_ids: pd.Index) -> pd.DataFrame:
    """Collect the visible parts of every picture: image_id, part_id, x, y, visible a line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; it is part of the official CUB-200-2011 archive")
    columns = ["image_id", "part_id", "x", "y", "visible"]
    try:
        lines = pd.read_csv(path, sep=" ", names=columns, index_col=False, dtype=float)
    except ValueError as error:
        raise ValueError(f"{path}: expected lines of {', '.join(columns)}; {error}") from error
    visible = lines[lines["visible"] == 1].astype({"image_id": int, "part_id": int})
    unknown = sorted(set(visible["part_id"]) - set(names.index))
    if unknown:
        raise ValueError(f"{path}: part ids {unknown} are not in parts.txt")
    visible = visible.sort_values(["image_id", "part_id"])
    visible["name"] = visible["part_id"].map(names)
    groups = {image_id: group for image_id, group in visible.groupby("image_id")}
    nothing = visible.iloc[:0]
    rows = [groups.get(image_id, nothing) for image_id in image_ids]
    return pd.DataFrame(
        {
            "part_names": [group["name"].tolist() for group in rows],
            "part_xs": [group["x"].tolist() for group in rows],
            "part_ys": [group["y"].tolist() for group in rows],
        },
        index=image_ids,
    )


def _require_complete(table: pd.DataFrame, classes: pd.DataFrame, *, top: Path) -> None:
    lacking = table.index[table.isna().any(axis="columns")]
    if len(lacking):
        raise ValueError(
            f"{top}: {len(lacking)} pictures of images.txt have no class, split or box, such as "
            f"image_id {lacking[0]}; the text files do not belong together"
        )
    unknown = sorted(set(table["class_id"]) - set(classes.index))
    if unknown:
        raise ValueError(f"{top}: class ids {unknown[:5]} are not in classes.txt")


def _check_counts(table: pd.DataFrame, num_classes: int, *, allow_partial: bool) -> list[str]:
    counts = table["split"].value_counts()
    found = {split: int(counts.get(split, 0)) for split in ("train", "test")}
    found["classes"] = num_classes
    if found == OFFICIAL_COUNTS:
        return []
    message = f"CUB-200-2011 has {OFFICIAL_COUNTS} pictures and classes; here are {found}"
    if not allow_partial:
        raise ValueError(f"{message}. Get the whole archive, or set dataset.allow_partial to true")
    return [message]
