"""VeRi-776: vehicles seen by twenty cameras (Liu et al. 2016), in its official layout.

    VeRi/image_train/0001_c001_00016450_0.jpg   image_query/   image_test/ (the gallery)
    name_train.txt   name_query.txt   name_test.txt   gt_index.txt   jk_index.txt

Identity and camera come from the file names. train_label.xml and test_label.xml are not read: they
say the same once more, and colours and types, for which the index has no place; one copy of them is
not well-formed. Counts are those of the official page; how many of the 776 vehicles train shows
differs between sources, so it comes from the files.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.identities import label_identities
from dcal.data.images import is_picture
from dcal.data.official import Count, OfficialSet, compare_counts
from dcal.data.source_path import fetch_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._key_points import find_lists, read_views
from dcal.data.sources._listing import find_top, undouble
from dcal.data.sources._naming import parse_name, require_allowed, tabulate_names
from dcal.data.splits import hold_out_identities
from dcal.sentences import to_one_line

logger = logging.getLogger(__name__)

FOLDERS = {"train": "image_train", "query": "image_query", "gallery": "image_test"}
NAME_FILES = {"train": "name_train.txt", "query": "name_query.txt", "gallery": "name_test.txt"}
VERI = OfficialSet(
    title="VeRi-776",
    page="vehiclereid.github.io/VeRi",
    terms=(
        "VeRi-776 is for research only, given to named researchers on e-mail request: no "
        "distribution, no commercial use"
    ),
    # How many of the 776 vehicles train shows differs between sources, so it is not compared.
    counts={
        "train": Count(37778, None, 20),
        "query": Count(1678, 200),
        "gallery": Count(11579, 200, 19),
    },
    layout="image_train/, image_query/ and image_test/, with name_train.txt and its kin",
)


class Options(Section):
    """What VeRi-776 takes under `dataset.options`."""

    # A list of key points with the view as its last number, or a folder of such lists: a path
    # below the set's folder or, like dataset.source, from the project's folder; null = no views
    views: str | None


class _Names(NamedTuple):
    """The picture names of a split as its list has them, doubled lines included."""

    lines: list[str]
    has_list: bool


def describe(dataset: DatasetConfig) -> OfficialSet:
    """Return what VeRi-776 officially is."""
    return VERI


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archive, or note the user's folder for use in place.

    Raises:
        FileNotFoundError: `dataset.source` is null: the set is given on request only.
    """
    fetch_source(dataset, target, VERI, unpacked=tuple(FOLDERS.values()))


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the pictures that the official lists name or, without lists, those of the folders.

    Raises:
        FileNotFoundError: A folder or the list of views is missing.
        ValueError: A list that names missing pictures, other than the official counts, a name that
            says no identity and camera, or lines of key points that cannot be read.
    """
    options = parse_options(dataset, Options)
    top = find_top(root, tuple(FOLDERS.values()), what="VeRi-776")
    names = {split: _read_names(top, split) for split in FOLDERS}
    paths, warnings = _list_pictures(names, top, root, allow_partial=dataset.allow_partial)
    parts = [tabulate_names(found, split=split, root=root) for split, found in paths.items()]
    warnings += require_allowed(
        "have a name that does not start with identity and camera, such as "
        "0002_c002_00030600_0.jpg",
        [path for _, unnamed in parts for path in unnamed],
        num_pictures=sum(map(len, paths.values())),
        allow_partial=dataset.allow_partial,
    )
    table = pd.concat([rows for rows, _ in parts], ignore_index=True)
    warnings += compare_counts(table, VERI, kind="reid", allow_partial=dataset.allow_partial)
    warnings += _check_indices(top, names)
    if options.views is not None:
        views = read_views(find_lists(options.views, top))
        file_names = table["path"].str.rpartition("/")[2]
        found = [views.get(name) for name in file_names]
        table["view"] = pd.array(found, dtype="Int64")
        warnings += _describe_views(table)
    table = hold_out_identities(table, ratio=dataset.val_ratio, seed=dataset.split_seed)
    table, class_names = label_identities(table)
    return SourceTable(table, class_names, warnings=warnings)


def _read_lines(path: Path) -> list[str]:
    """Read the lines of a text without the blanks around them and without empty lines.

    The names in the official files are ASCII; what else a copy may hold must not stop it.
    """
    text = path.read_text(encoding="utf-8-sig", errors="backslashreplace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_names(top: Path, split: str) -> _Names:
    path = top / NAME_FILES[split]
    if path.is_file():
        return _Names(_read_lines(path), has_list=True)
    folder = undouble(top / FOLDERS[split])
    return _Names(sorted(path.name for path in folder.iterdir() if is_picture(path)), False)


def _list_pictures(
    names: dict[str, _Names], top: Path, root: Path, *, allow_partial: bool
) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the pictures of each split, once each, and say what lists and folders disagree on."""
    paths: dict[str, list[Path]] = {}
    lost, warnings = [], []
    for split, (lines, has_list) in names.items():
        folder = undouble(top / FOLDERS[split])
        there = {path.name for path in folder.iterdir() if is_picture(path)}
        listed = sorted(set(lines))
        place = folder.relative_to(root).as_posix()
        lost += [to_one_line(f"{place}/{name}") for name in set(listed) - there]
        paths[split] = [folder / name for name in listed if name in there]
        if len(listed) < len(lines):
            num_doubled = len(lines) - len(listed)
            warnings.append(f"{NAME_FILES[split]}: {num_doubled} names twice, counted once")
        if there - set(listed):
            num_others = len(there - set(listed))
            warnings.append(
                f"ignored (pictures of {folder.name} that {NAME_FILES[split]} lacks): {num_others}"
            )
        if not has_list:
            logger.info("%s is missing: all pictures of %s", NAME_FILES[split], folder.name)
    warnings += require_allowed(
        "are in the official lists and not in their folder",
        sorted(lost),
        num_pictures=sum(map(len, paths.values())) + len(lost),
        allow_partial=allow_partial,
    )
    return paths, warnings


def _check_indices(top: Path, names: dict[str, _Names]) -> list[str]:
    """Compare the official answers, where they are there, with the camera rule.

    A line belongs to a query of name_query.txt and holds numbers of lines of name_test.txt, from 1.
    """
    warnings = []
    for stem, is_junk in (("gt_index", False), ("jk_index", True)):
        path = next((path for path in sorted(top.glob(f"{stem}*.txt")) if path.is_file()), None)
        if path is None:
            continue
        if not (names["query"].has_list and names["gallery"].has_list):
            warnings.append(
                f"{path.name} is not compared: name_query.txt or name_test.txt is missing"
            )
            continue
        # Not _read_lines: a query without junk has an empty line.
        lines = path.read_text(encoding="utf-8-sig", errors="backslashreplace").splitlines()
        expected = _find_by_rule(names["query"].lines, names["gallery"].lines, is_junk=is_junk)
        while len(lines) > len(expected) and not lines[-1].strip():
            lines.pop()
        lines += [""] * (len(expected) - len(lines))
        num_wrong = sum(
            sorted(line.split()) != numbers for line, numbers in zip(lines, expected, strict=False)
        )
        if num_wrong or len(lines) > len(expected):
            warnings.append(
                f"{path.name} and the camera rule disagree on {num_wrong} of {len(expected)} "
                f"queries ({len(lines)} lines); the rule is what scores are made with"
            )
    return warnings


def _find_by_rule(queries: list[str], gallery: list[str], *, is_junk: bool) -> list[list[str]]:
    """Return for each query the 1-based gallery lines of its vehicle, as sorted texts.

    Those of the query's camera where `is_junk`, else those of the others.
    """
    places: dict[int, list[tuple[str, int | None]]] = {}
    for number, name in enumerate(gallery, start=1):
        picture = parse_name(name)
        if picture is not None:
            places.setdefault(picture.identity, []).append((str(number), picture.camera))
    found = []
    for name in queries:
        picture = parse_name(name)
        same = places.get(picture.identity, []) if picture is not None else []
        camera = picture.camera if picture is not None else None
        found.append(sorted(number for number, other in same if (other == camera) == is_junk))
    return found


def _describe_views(table: pd.DataFrame) -> list[str]:
    unseen = Counter(table.loc[table["view"].isna(), "split"])
    if not unseen:
        return []
    by_split = ", ".join(f"{unseen[split]} {split}" for split in FOLDERS if unseen[split])
    return [f"{sum(unseen.values())} of {len(table)} pictures have no known view: {by_split}"]
