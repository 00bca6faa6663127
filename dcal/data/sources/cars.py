"""Stanford Cars: 196 makes, models and years (Krause et al. 2013), in both official packagings.

    cars_train/00001.jpg   cars_test/00001.jpg   devkit/cars_meta.mat   devkit/cars_train_annos.mat
    cars_test_annos_withlabels.mat

or, as metric learning takes it, `car_ims/000001.jpg` and `cars_annos.mat`. Records are read by the
names of their fields, because the devkit's readme gives the box in another order than the files.
Numbers there are of the smallest unsigned type, so that 255 + 1 would be 0: they are read as int.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.official import Count, OfficialSet, compare_counts
from dcal.data.remote_file import Download
from dcal.data.source_path import fetch_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._listing import find_any_top, undouble
from dcal.data.sources._matlab import Record, Variable, read_variables
from dcal.data.sources._presence import keep_present
from dcal.data.splits import hold_out

FOLDERS = {"train": "cars_train", "test": "cars_test"}
JOINT_FOLDER, JOINT_FILE = "car_ims", "cars_annos.mat"
BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
TEST_FILE = "cars_test_annos_withlabels.mat"
# Beside the pictures, in the devkit, or in the folder that some copies wrap around the devkit.
PLACES = ("", "devkit", "car_devkit/devkit", "car_devkit")
CARS = OfficialSet(
    title="Stanford Cars",
    page="ai.stanford.edu/~jkrause/cars/car_dataset.html (gone since 2023)",
    terms=(
        "Stanford Cars is for research only; the pictures come from web sites, and the rights stay "
        "with their owners"
    ),
    counts={"train": Count(8144, 196), "test": Count(8041, 196)},
    layout=(
        "cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat, or car_ims/ and "
        "cars_annos.mat"
    ),
    files=(
        Download(
            file_name="cars_train.tgz",
            urls=(),
            checksum="sha256:512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
            num_bytes=979_269_282,
        ),
        Download(
            file_name="cars_test.tgz",
            urls=(),
            checksum="sha256:bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
            num_bytes=977_350_468,
        ),
        Download(
            file_name="car_devkit.tgz",
            urls=(),
            checksum="sha256:b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
            num_bytes=330_960,
        ),
        Download(
            file_name=TEST_FILE,
            urls=(),
            checksum="sha256:790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
            num_bytes=185_758,
        ),
        Download(
            file_name="car_ims.tgz",
            urls=(),
            checksum="md5:d5c8f0aa497503f355e17dc7886c3f14",
            num_bytes=None,
        ),
        Download(
            file_name=JOINT_FILE,
            urls=(),
            checksum="md5:b407c6086d669747186bd1d764ff9dbc",
            num_bytes=None,
        ),
    ),
)


class Options(Section):
    """Cars needs no options of its own."""


class _Row(NamedTuple):
    path: str
    split: str
    label: int
    box_x: float
    box_y: float
    box_width: float
    box_height: float


def describe(dataset: DatasetConfig) -> OfficialSet:
    """Return what Stanford Cars officially is."""
    return CARS


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archives, or note the user's folder for use in place.

    Raises:
        FileNotFoundError: `dataset.source` is null: the official page is gone.
    """
    fetch_source(dataset, target, CARS, unpacked=(*FOLDERS.values(), JOINT_FOLDER))


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the annotated pictures, with their boxes in pixels from the top left corner.

    Raises:
        FileNotFoundError: A folder or an annotation is missing.
        ValueError: A file that is no annotation, a record of other values, a picture that is named
            and not there, or unofficial counts.
    """
    parse_options(dataset, Options)
    top = find_any_top(root, (tuple(FOLDERS.values()), (JOINT_FOLDER,)), what=CARS.title)
    is_joint = not (top / FOLDERS["train"]).is_dir()
    read = _read_joint if is_joint else _read_split
    names, rows = read(top, root)
    table = pd.DataFrame(rows, columns=_Row._fields)
    folders = [JOINT_FOLDER] if is_joint else FOLDERS.values()
    table, warnings = keep_present(
        table,
        root,
        {undouble(top / folder): 0 for folder in folders},
        allow_partial=dataset.allow_partial,
    )
    warnings += compare_counts(table, CARS, kind="fgvc", allow_partial=dataset.allow_partial)
    table = hold_out(table, ratio=dataset.val_ratio, seed=dataset.split_seed)
    return SourceTable(table, names, warnings=warnings)


def _read_split(top: Path, root: Path) -> tuple[list[str], list[_Row]]:
    fields = ("fname", "class", *BOX)
    names, *halves = read_variables(
        [
            Variable(_find(top, "cars_meta.mat"), "class_names"),
            Variable(_find(top, "cars_train_annos.mat"), "annotations", fields),
            Variable(_find(top, TEST_FILE), "annotations", fields),
        ]
    )
    rows = []
    for (split, name), records in zip(FOLDERS.items(), halves, strict=True):
        folder = undouble(top / name).relative_to(root)
        for record in records:
            path = folder / record.read_file_name("fname")
            rows.append(_make_row(record, path, split, num_classes=len(names)))
    return names, rows


def _read_joint(top: Path, root: Path) -> tuple[list[str], list[_Row]]:
    file = _find(top, JOINT_FILE)
    fields = ("relative_im_path", "class", "test", *BOX)
    names, records = read_variables(
        [Variable(file, "class_names"), Variable(file, "annotations", fields)]
    )
    folder = undouble(top / JOINT_FOLDER).relative_to(root)
    rows = []
    for record in records:
        # Such as car_ims/000001.jpg; the folder may be doubled here.
        path = folder / record.read_file_name("relative_im_path")
        split = "test" if record.read_whole("test", at_least=0, at_most=1) else "train"
        rows.append(_make_row(record, path, split, num_classes=len(names)))
    return names, rows


def _make_row(record: Record, path: Path, split: str, *, num_classes: int) -> _Row:
    # Corners are pixels from 1, both inside the box.
    x1, y1, x2, y2 = (record.read_whole(field) for field in BOX)
    label = record.read_whole("class", at_least=1, at_most=num_classes) - 1
    return _Row(path.as_posix(), split, label, x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)


def _find(top: Path, name: str) -> Path:
    """Return the place of an annotation file.

    Raises:
        FileNotFoundError: It is at none of those that are known.
    """
    for place in PLACES:
        if (top / place / name).is_file():
            return top / place / name
    hint = ""
    if name == TEST_FILE:
        hint = "; cars_test_annos.mat of early devkits does not do, because it names no classes"
    raise FileNotFoundError(
        f"{top}: expected {name} of {CARS.title} there or in {', '.join(PLACES[1:])}{hint}"
    )
