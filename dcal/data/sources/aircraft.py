"""FGVC-Aircraft 2013b: 10,000 pictures of aircraft, 100 a variant (Maji et al. 2013).

    fgvc-aircraft-2013b/data/images/1187707.jpg   variants.txt   images_variant_train.txt   ...

Class order is that of variants.txt (families.txt, manufacturers.txt), and names hold blanks and
slashes. The bottom 20 rows of every picture are a banner with the photographer's credit, which the
set's readme asks to cut before training and evaluation; few public loaders do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.boxes import BOX_COLUMNS
from dcal.data.official import Count, OfficialSet, compare_counts
from dcal.data.remote_file import Download
from dcal.data.source_path import fetch_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._listing import find_top
from dcal.data.sources._presence import keep_present
from dcal.data.sources._text import iterate_lines, parse_decimal, read_lines, require_below
from dcal.data.splits import hold_out

Level = Literal["variant", "family", "manufacturer"]
CLASS_FILES: dict[Level, str] = {
    "variant": "variants.txt",
    "family": "families.txt",
    "manufacturer": "manufacturers.txt",
}
# The readme speaks of 102 variants and 41 manufacturers; the released files have these.
NUM_CLASSES: dict[Level, int] = {"variant": 100, "family": 70, "manufacturer": 30}
OFFICIAL_SPLITS = ("train", "val", "test")
BANNER_ROWS = 20
TITLE = "FGVC-Aircraft 2013b"
# The address is that of the official page; it could not be tried where this was written.
ARCHIVE = Download(
    file_name="fgvc-aircraft-2013b.tar.gz",
    urls=(
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
    ),
    checksum="md5:d4acdd33327262359767eeaa97a4f732",
    num_bytes=None,  # about 2.75 GB
)


class Options(Section):
    """What FGVC-Aircraft takes under `dataset.options`."""

    level: Level  # "Aircraft" in papers is the variant
    cut_banner: bool  # the credit in the bottom 20 rows; published numbers are of both kinds
    official_val: bool  # true: the official val split is val; false: it is part of train


def describe(dataset: DatasetConfig) -> OfficialSet:
    """Return what FGVC-Aircraft officially is, at the level and split that the options name."""
    options = parse_options(dataset, Options)
    num_classes = NUM_CLASSES[options.level]
    counts = {"train": Count(6667, num_classes), "test": Count(3333, num_classes)}
    if options.official_val:
        counts |= {"train": Count(3334, num_classes), "val": Count(3333, num_classes)}
    return OfficialSet(
        title=TITLE,
        page="www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        terms=(
            "FGVC-Aircraft is for non-commercial research only; the photographers keep the "
            "copyright"
        ),
        counts=counts,
        layout="fgvc-aircraft-2013b/data/ with images/, variants.txt and the lists of its splits",
        files=(ARCHIVE,),
        is_fetched=True,
    )


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Use the user's folder or archive, or download the official one and unpack it."""
    fetch_source(dataset, target, describe(dataset), unpacked=("data", "images"))


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """Join the official lists into one row a picture, with its box in pixels from the top left.

    Raises:
        FileNotFoundError: A list or the folder of pictures is missing.
        ValueError: A line that is no record, a class that the class list lacks, a picture in two
            splits, one that is named and not there, or unofficial counts.
    """
    options = parse_options(dataset, Options)
    top = _find_top(root)
    names = read_lines(top / CLASS_FILES[options.level], of=TITLE)
    table = _read_splits(top, names, options)
    folder = (top / "images").relative_to(root)
    table["path"] = [(folder / f"{name}.jpg").as_posix() for name in table["name"]]
    table = table.join(_read_boxes(top / "images_box.txt", names=table["name"]))
    if options.cut_banner:
        table["cut_bottom"] = BANNER_ROWS
    table, warnings = keep_present(
        table.drop(columns="name"), root, {top / "images": 0}, allow_partial=dataset.allow_partial
    )
    warnings += compare_counts(
        table, describe(dataset), kind="fgvc", allow_partial=dataset.allow_partial
    )
    if not options.official_val:
        table = hold_out(table, ratio=dataset.val_ratio, seed=dataset.split_seed)
    elif dataset.val_ratio:
        warnings.append("dataset.val_ratio is not used, because options.official_val is true")
    return SourceTable(table, names, warnings=warnings)


def _find_top(root: Path) -> Path:
    """Return the folder that holds images/ and the lists, with or without data/ around it."""
    if (root / "images").is_dir() and (root / CLASS_FILES["variant"]).is_file():
        return root
    return find_top(root, ("data",), what=TITLE) / "data"


def _read_splits(top: Path, names: list[str], options: Options) -> pd.DataFrame:
    labels = {name: label for label, name in enumerate(names)}
    rows: dict[str, tuple[str, int]] = {}
    for split in OFFICIAL_SPLITS:
        path = top / f"images_{options.level}_{split}.txt"
        for number, line in iterate_lines(path, of=TITLE):
            # Once only: names of classes hold blanks.
            picture, _, class_name = line.partition(" ")
            label = labels.get(class_name.strip())
            if label is None or picture in rows:
                raise ValueError(
                    f"{path}:{number}: expected a picture that no line before names, and a class "
                    f"of {CLASS_FILES[options.level]}; got {line[:80]!r}"
                )
            is_train = split == "val" and not options.official_val
            require_below(picture, place=f"{path}:{number}")
            rows[picture] = ("train" if is_train else split, label)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["split", "label"])
    return table.reset_index(names="name")


def _read_boxes(path: Path, *, names: pd.Series) -> pd.DataFrame:
    """Read `name xmin ymin xmax ymax` lines, whose corners are pixels from 1, both inside."""
    boxes: dict[str, tuple[float, ...]] = {}
    for number, line in iterate_lines(path, of=TITLE):
        place = f"{path}:{number}"
        name, *fields = line.split()
        if len(fields) != 4:
            raise ValueError(f"{place}: expected a picture and four numbers; got {line[:80]!r}")
        x1, y1, x2, y2 = (parse_decimal(field, place=place) for field in fields)
        boxes[name] = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
    # Columns of none where a picture has no box, as in some copies.
    found = [boxes.get(name, (float("nan"),) * 4) for name in names]
    return pd.DataFrame(found, columns=list(BOX_COLUMNS), index=names.index, dtype="float64")
