"""MSMT17: persons seen by fifteen cameras (Wei et al. 2018), in both of its versions.

    MSMT17_V1/train/0000/0000_000_01_0303morning_0008_0.jpg   test/   list_train.txt   list_val.txt
    MSMT17_V2/mask_train_v2/...   mask_test_v2/...            list_query.txt   list_gallery.txt

A line of a list is a path below train or test and a person. Numbers of train and of test both begin
at 0: here train's are those plus 1, and test's follow after the last of train, so that no number
stands for two persons. The camera is the third field of the file name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.identities import label_identities
from dcal.data.official import Count, OfficialSet, compare_counts
from dcal.data.source_path import fetch_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._listing import find_any_top, undouble
from dcal.data.sources._presence import keep_present
from dcal.data.sources._text import iterate_lines, parse_whole, require_below
from dcal.data.splits import hold_out_identities

# Folder of train, of test; V2 has blurred faces.
VERSIONS = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}
TITLE = "MSMT17"
LISTS = {
    "train": "list_train.txt",
    "val": "list_val.txt",
    "query": "list_query.txt",
    "gallery": "list_gallery.txt",
}
MAX_PERSON = 10**9
_CAMERA = re.compile(r"[^_]*_[^_]*_([0-9]{1,4})_")


class Options(Section):
    """What MSMT17 takes under `dataset.options`."""

    # list_val.txt shows the persons of list_train.txt. true: both are train, as in TransReID and
    # most papers since (32,621 pictures); false: list_val.txt is left out (30,248)
    combine_val: bool


class _Row(NamedTuple):
    path: str
    split: str
    identity: int
    camera: int


def describe(dataset: DatasetConfig) -> OfficialSet:
    """Return what MSMT17 officially is, with or without the pictures of list_val.txt."""
    is_combined = parse_options(dataset, Options).combine_val
    return OfficialSet(
        title=TITLE,
        page="www.pkuvmc.com (publications/msmt17), often unreachable",
        terms=(
            "MSMT17 is given after a signed release agreement, for academic research only, and may "
            "not be passed on"
        ),
        counts={
            "train": Count(32621 if is_combined else 30248, 1041, 15),
            "query": Count(11659, 3060),
            "gallery": Count(82161, 3060),
        },
        layout=(
            "train/ and test/ (V1) or mask_train_v2/ and mask_test_v2/ (V2), with list_train.txt, "
            "list_val.txt, list_query.txt and list_gallery.txt beside them"
        ),
    )


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archive, or note the user's folder for use in place.

    Raises:
        FileNotFoundError: `dataset.source` is null: the set is given on request only.
    """
    fetch_source(dataset, target, describe(dataset), unpacked=VERSIONS["V1"] + VERSIONS["V2"])


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the pictures that the four official lists name.

    Raises:
        FileNotFoundError: A folder or a list is missing.
        ValueError: A line that is no record, a picture that is named and not there, or other than
            the official counts.
    """
    options = parse_options(dataset, Options)
    top = find_any_top(root, tuple(VERSIONS.values()), what=TITLE)
    version = next(name for name, folders in VERSIONS.items() if (top / folders[0]).is_dir())
    folders = [undouble(top / name) for name in VERSIONS[version]]
    table = pd.DataFrame(list(_read_lists(top, folders, root)), columns=_Row._fields)
    table = table.astype({"identity": "Int64", "camera": "Int64"})
    allowed = {"allow_partial": dataset.allow_partial}
    table, warnings = keep_present(table, root, {folder: 1 for folder in folders}, **allowed)
    if options.combine_val:
        table["split"] = table["split"].replace("val", "train")
    table = table[table["split"] != "val"].reset_index(drop=True)
    warnings += compare_counts(table, describe(dataset), kind="reid", **allowed)
    warnings.append(
        f"read as MSMT17 {version}"
        + (", whose faces are blurred" if version == "V2" else "")
        + ": figures on V1 and on V2 differ, so say which"
    )
    table = hold_out_identities(table, ratio=dataset.val_ratio, seed=dataset.split_seed)
    table, class_names = label_identities(table)
    return SourceTable(table, class_names, warnings=warnings)


def _read_lists(top: Path, folders: list[Path], root: Path) -> Iterator[_Row]:
    """Yield the pictures of all four lists; those of list_val.txt have the split val."""
    train, test = (folder.relative_to(root).as_posix() for folder in folders)
    last = 0
    for split in ("train", "val"):
        for path, person, camera in _read_list(top / LISTS[split]):
            last = max(last, person + 1)
            yield _Row(f"{train}/{path}", split, person + 1, camera)
    for split in ("query", "gallery"):
        for path, person, camera in _read_list(top / LISTS[split]):
            yield _Row(f"{test}/{path}", split, last + person + 1, camera)


def _read_list(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the picture, person and camera of each line."""
    for number, line in iterate_lines(path, of=TITLE):
        place = f"{path}:{number}"
        name, _, person = line.rpartition(" ")
        camera = _CAMERA.match(PurePosixPath(name).name)
        if camera is None or int(camera[1]) == 0:
            raise ValueError(
                f"{place}: expected a picture such as 0000/0000_000_01_0303morning_0008_0.jpg, "
                f"whose third field is the camera from 01, and a person; got {line[:80]!r}"
            )
        whole = parse_whole(person, place=place, at_least=0, at_most=MAX_PERSON)
        yield require_below(name.strip(), place=place), whole, int(camera[1])
