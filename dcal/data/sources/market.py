"""Any folder in Market-1501 naming: Market-1501, DukeMTMC-reID, CUHK03-NP, or your own (ours).

    bounding_box_train/0002_c1s1_000451_03.jpg   query/   bounding_box_test/ (the gallery)

One folder may be wrapped around the three. A name starts with the identity and the camera: -1 is
junk, 0000 a distractor, c-1 a camera that is not known. Layouts and counts: the sets' own readmes.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Literal

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.identities import DISTRACTOR, label_identities
from dcal.data.images import is_picture
from dcal.data.raw import use_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._listing import find_top
from dcal.data.sources._naming import require_allowed, tabulate_names
from dcal.data.splits import hold_out_identities

logger = logging.getLogger(__name__)

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
_Official = Literal[
    "market1501", "dukemtmc", "occluded_duke", "cuhk03np_labeled", "cuhk03np_detected"
]
# Pictures by split, and identities of train.
OFFICIAL_COUNTS: dict[str, dict[str, int]] = {
    "market1501": {"train": 12936, "query": 3368, "gallery": 19732, "identities": 751},
    "dukemtmc": {"train": 16522, "query": 2228, "gallery": 17661, "identities": 702},
    "occluded_duke": {"train": 15618, "query": 2210, "gallery": 17661, "identities": 702},
    "cuhk03np_labeled": {"train": 7368, "query": 1400, "gallery": 5328, "identities": 767},
    "cuhk03np_detected": {"train": 7365, "query": 1400, "gallery": 5332, "identities": 767},
}
_DUKE = (
    "DukeMTMC was withdrawn by Duke University on 25 April 2019, because its recording went beyond "
    "the ethics approval: using or passing on copies is a matter of ethics approval, and several "
    "venues discourage new results"
)
_CUHK = "CUHK03-NP (github.com/zhunzhong07/person-re-ranking) is for academic use, given on request"
# Printed once when the set is prepared.
TERMS: dict[str, str] = {
    "market1501": (
        "Market-1501 (www.liangzheng.org/Project/project_reid.html) is for academic use; the "
        "persons in it did not consent: do not publish their faces"
    ),
    "dukemtmc": _DUKE,
    "occluded_duke": _DUKE,
    "cuhk03np_labeled": _CUHK,
    "cuhk03np_detected": _CUHK,
}
WITHDRAWN = ("dukemtmc", "occluded_duke")


class Options(Section):
    """What a folder in Market-1501 naming takes under `dataset.options`."""

    official: _Official | None  # the set that it claims to be: its counts are compared


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archive, or note the user's folder for use in place.

    Raises:
        FileNotFoundError: `dataset.source` is null: none of these sets is fetched.
    """
    official = parse_options(dataset, Options).official
    if dataset.source is None:
        terms = TERMS[official or "market1501"]
        raise FileNotFoundError(
            "dataset.source: expected your folder or archive in Market-1501 naming "
            f"({', '.join(FOLDERS.values())}), got null, and it is not fetched; {terms}"
        )
    use_source(dataset, target)


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the pictures of the three folders; junk and distractors stay in the gallery only.

    Raises:
        FileNotFoundError: One of the three folders is missing.
        ValueError: Several such sets, a name that says no identity and camera, a query that is
            junk or a distractor, or identities that cannot be split.
    """
    official = parse_options(dataset, Options).official
    top = find_top(root, tuple(FOLDERS.values()), what="Market-1501 naming")
    ignored: Counter[str] = Counter()
    listed = {split: _list_pictures(top / name, ignored) for split, name in FOLDERS.items()}
    parts = [tabulate_names(paths, split=split, root=root) for split, paths in listed.items()]
    warnings = require_allowed(
        "have a name that does not start with identity and camera, such as 0002_c1s1_000451_03.jpg "
        "(-1 = junk, 0000 = distractor; cameras from 1, c-1 = not known)",
        [path for _, unnamed in parts for path in unnamed],
        num_pictures=sum(map(len, listed.values())),
        allow_partial=dataset.allow_partial,
    )
    table = pd.concat([rows for rows, _ in parts], ignore_index=True)
    warnings += [f"ignored ({why}): {number}" for why, number in sorted(ignored.items())]
    warnings += _compare_counts(table, official)
    if official is not None:
        logger.info("terms: %s", TERMS[official])
    if official in WITHDRAWN:
        warnings.append(_DUKE)
    table, said = _keep_marks_to_gallery(table, allow_partial=dataset.allow_partial)
    table = hold_out_identities(table, ratio=dataset.val_ratio, seed=dataset.split_seed)
    table, class_names = label_identities(table)
    return SourceTable(
        table,
        class_names,
        part_names=[],
        discriminative_parts=[],
        warnings=[*warnings, *said],
    )


def _list_pictures(folder: Path, ignored: Counter[str]) -> list[Path]:
    pictures = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            ignored[f"folders in {folder.name}"] += 1
        elif is_picture(path):
            pictures.append(path)
        else:
            ignored["other files, such as Thumbs.db"] += 1
    return pictures


def _compare_counts(table: pd.DataFrame, official: _Official | None) -> list[str]:
    if official is None:
        return []
    counts = table["split"].value_counts()
    found = {split: int(counts.get(split, 0)) for split in FOLDERS}
    trained = table.loc[table["split"] == "train", "identity"]
    found["identities"] = int(trained[trained > DISTRACTOR].nunique())
    expected = OFFICIAL_COUNTS[official]
    if found == expected:
        return []
    return [f"{official} has {expected} pictures and train identities; here are {found}"]


def _keep_marks_to_gallery(
    table: pd.DataFrame, *, allow_partial: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Leave junk and distractors out of train and query.

    A detector's mistakes among the training pictures are no identity and can only be left out. A
    query that is one could never be scored, so a set with such queries is not the set that it
    should be: that is the user's to decide.
    """
    is_mark = table["identity"] <= DISTRACTOR
    in_train = is_mark & (table["split"] == "train")
    in_query = is_mark & (table["split"] == "query")
    warnings = require_allowed(
        "of the query folder are junk (-1) or a distractor (0), which no gallery can match",
        table.loc[in_query, "path"].tolist(),
        num_pictures=len(table),
        allow_partial=allow_partial,
    )
    if in_train.any():
        warnings.append(
            f"left out: {int(in_train.sum())} train pictures that are junk (-1) or distractors (0)"
        )
    return table[~in_train & ~in_query].reset_index(drop=True), warnings
