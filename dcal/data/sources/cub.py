"""CUB-200-2011: 200 bird species with boxes and 15 part locations (Wah et al. 2011).

The official layout, joined by image_id: the folder and the files spell species differently, and
stray pictures lie beside the listed ones, so nothing is ever globbed or built from names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.boxes import BOX_COLUMNS
from dcal.data.official import Count, OfficialSet, compare_counts
from dcal.data.remote_file import Download
from dcal.data.source_path import fetch_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._text import iterate_lines, parse_decimal, parse_whole, require_below
from dcal.data.splits import hold_out

TOP_FOLDER = "CUB_200_2011"
# The address is the one that CaltechDATA shows; it could not be tried where this was written.
ARCHIVE = Download(
    file_name="CUB_200_2011.tgz",
    urls=("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",),
    checksum="sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
    num_bytes=1_150_585_339,
)
CUB = OfficialSet(
    title="CUB-200-2011",
    page="www.vision.caltech.edu/datasets/cub_200_2011",
    terms=(
        "CUB-200-2011 is for non-commercial research and education; the pictures belong to their "
        "photographers"
    ),
    counts={"train": Count(5994, 200), "test": Count(5794, 200)},
    layout="CUB_200_2011/ with images/, images.txt and the other lists",
    files=(ARCHIVE,),
    is_fetched=True,
)


_parse_id = partial(parse_whole, at_least=0)
_parse_flag = partial(parse_whole, at_least=0, at_most=1)


class Options(Section):
    """CUB needs no options of its own."""


def describe(dataset: DatasetConfig) -> OfficialSet:
    """Return what CUB-200-2011 officially is."""
    return CUB


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Use the user's folder or archive, or download the official one and unpack it.

    The archive is kept in data/archives of the work root, so that fetching again is cheap.
    """
    fetch_source(dataset, target, CUB, unpacked=(TOP_FOLDER, "images.txt"))


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
            _read_numbers(top / "image_class_labels.txt", ["class_id"], _parse_id),
            _read_numbers(top / "train_test_split.txt", ["is_training"], _parse_flag),
            _read_numbers(top / "bounding_boxes.txt", list(BOX_COLUMNS), parse_decimal),
        ]
    )
    _require_complete(table, classes, top=top)
    names = _read_records(top / "parts" / "parts.txt", ["name"])["name"]
    table = table.join(_read_parts(top / "parts" / "part_locs.txt", names, table.index))
    labels = {class_id: label for label, class_id in enumerate(classes.index)}
    prefix = (top / "images").relative_to(root).as_posix()
    table["path"] = [
        f"{prefix}/{require_below(path, place=str(top / 'images.txt'))}" for path in table["path"]
    ]
    table["label"] = table["class_id"].map(labels)
    table["split"] = table["is_training"].map({1: "train", 0: "test"})
    table = table.drop(columns=["class_id", "is_training"]).reset_index(drop=True)
    warnings = compare_counts(table, CUB, kind="fgvc", allow_partial=dataset.allow_partial)
    return SourceTable(
        hold_out(table, ratio=dataset.val_ratio, seed=dataset.split_seed),
        list(classes["class_name"]),
        part_names=list(names),
        # CUB does not say which parts tell species apart: a hit on any of them counts.
        discriminative_parts=list(names),
        warnings=warnings,
    )


def _find_top(root: Path) -> Path:
    # Doubled where the archive was unpacked into a folder named after it.
    for top in (root, root / TOP_FOLDER, root / TOP_FOLDER / TOP_FOLDER):
        if (top / "images.txt").is_file():
            return top
    raise FileNotFoundError(
        f"{root}: expected images.txt of CUB-200-2011 there or in {TOP_FOLDER}; set dataset.source "
        f"to the folder or archive that {ARCHIVE.file_name} holds, or to null to download it"
    )


def _read_records(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read `id field ...` lines; the last field keeps its blanks."""
    records: dict[int, list[str]] = {}
    for number, line in iterate_lines(path, of=CUB.title):
        key, *fields = line.split(" ", maxsplit=len(columns))
        key_number = parse_whole(key, place=f"{path}:{number}", at_least=0)
        if len(fields) != len(columns) or key_number in records:
            raise ValueError(
                f"{path}:{number}: expected a new id and {', '.join(columns)}; got {line[:80]!r}"
            )
        records[key_number] = fields
    return pd.DataFrame.from_dict(records, orient="index", columns=columns).sort_index()


def _read_numbers(path: Path, columns: list[str], parse: Callable[..., float]) -> pd.DataFrame:
    """Read `id number ...` lines."""
    records = _read_records(path, columns)
    rows = [
        [parse(field, place=f"{path}, id {key}") for field in fields]
        for key, *fields in records.itertuples()
    ]
    return pd.DataFrame(rows, index=records.index, columns=columns)


def _read_parts(path: Path, names: pd.Series, image_ids: pd.Index) -> pd.DataFrame:
    """Collect the visible parts of every picture: image_id, part_id, x, y, visible a line."""
    found: dict[int, dict[int, tuple[float, float]]] = {}
    for number, line in iterate_lines(path, of=CUB.title):
        place = f"{path}:{number}"
        fields = line.split()
        if len(fields) != 5 or fields[4] not in ("0", "1"):
            raise ValueError(
                f"{place}: expected image_id, part_id, x, y and visible (0 or 1); got {line[:80]!r}"
            )
        image_id, part_id = (parse_whole(field, place=place, at_least=0) for field in fields[:2])
        if part_id not in names.index:
            raise ValueError(f"{place}: part id {part_id} is not in parts.txt")
        if fields[4] == "1":
            x, y = (parse_decimal(field, place=place) for field in fields[2:4])
            found.setdefault(image_id, {})[part_id] = (x, y)
    rows = [sorted(found.get(image_id, {}).items()) for image_id in image_ids]
    return pd.DataFrame(
        {
            "part_names": [[names[part] for part, _ in row] for row in rows],
            "part_xs": [[x for _, (x, _) in row] for row in rows],
            "part_ys": [[y for _, (_, y) in row] for row in rows],
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
