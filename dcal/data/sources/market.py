"""Any folder in Market-1501 naming: Market-1501, DukeMTMC-reID, CUHK03-NP, or your own (ours).

    bounding_box_train/0002_c1s1_000451_03.jpg   query/   bounding_box_test/ (the gallery)

One folder may be wrapped around the three. A name starts with the identity and the camera: -1 is
junk, 0000 a distractor, c-1 a camera that is not known. Layouts and counts: the sets' own readmes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.identities import DISTRACTOR, label_identities
from dcal.data.images import is_picture
from dcal.data.official import Count, OfficialSet, compare_counts
from dcal.data.partial import LEFT_OUT
from dcal.data.remote_file import Download
from dcal.data.source_path import fetch_source, use_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._listing import find_top, undouble
from dcal.data.sources._naming import require_allowed, tabulate_names
from dcal.data.splits import hold_out_identities

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
_Official = Literal[
    "market1501", "dukemtmc", "occluded_duke", "cuhk03np_labeled", "cuhk03np_detected"
]
_LAYOUT = "bounding_box_train/, query/ and bounding_box_test/"
_DUKE = (
    "DukeMTMC was withdrawn by Duke University on 25 April 2019, because its recording went beyond "
    "the ethics approval: using or passing on copies is a matter of ethics approval, and several "
    "venues discourage new results"
)
_CUHK = "CUHK03-NP is for academic use, given on request"
_CUHK_PAGE = "github.com/zhunzhong07/person-re-ranking"
OFFICIAL: dict[str, OfficialSet] = {
    "market1501": OfficialSet(
        title="Market-1501",
        page="www.liangzheng.org/Project/project_reid.html",
        terms=(
            "Market-1501 is for academic use; the persons in it did not consent: do not publish "
            "their faces"
        ),
        counts={
            "train": Count(12936, 751, 6),
            "query": Count(3368, 750, 6),
            "gallery": Count(19732, 750, 6),
        },
        layout=_LAYOUT,
        files=(
            Download(
                file_name="Market-1501-v15.09.15.zip",
                urls=(),
                checksum="md5:65005ab7d12ec1c44de4eeafe813e68a",
                num_bytes=None,
            ),
        ),
    ),
    "dukemtmc": OfficialSet(
        title="DukeMTMC-reID",
        page="none since 2019; the layout: github.com/layumi/DukeMTMC-reID_evaluation",
        terms=_DUKE,
        counts={
            "train": Count(16522, 702, 8),
            "query": Count(2228, 702, 8),
            "gallery": Count(17661, 1110, 8),
        },
        layout=_LAYOUT,
        caution=_DUKE,
    ),
    "occluded_duke": OfficialSet(
        title="Occluded-Duke",
        page="github.com/lightas/Occluded-DukeMTMC-Dataset, whose lists want DukeMTMC's pictures",
        terms=_DUKE,
        counts={
            "train": Count(15618, 702, 8),
            "query": Count(2210, 519, 8),
            "gallery": Count(17661, 1110, 8),
        },
        layout=_LAYOUT,
        caution=_DUKE,
    ),
    "cuhk03np_labeled": OfficialSet(
        title="CUHK03-NP (labeled)",
        page=_CUHK_PAGE,
        terms=_CUHK,
        counts={"train": Count(7368, 767, 2), "query": Count(1400, 700), "gallery": Count(5328)},
        layout=_LAYOUT,
    ),
    "cuhk03np_detected": OfficialSet(
        title="CUHK03-NP (detected)",
        page=_CUHK_PAGE,
        terms=_CUHK,
        counts={"train": Count(7365, 767, 2), "query": Count(1400, 700), "gallery": Count(5332)},
        layout=_LAYOUT,
    ),
}


class Options(Section):
    """What a folder in Market-1501 naming takes under `dataset.options`."""

    official: _Official | None  # the set that it claims to be: its counts are compared


def describe(dataset: DatasetConfig) -> OfficialSet | None:
    """Return what the set that the options name officially is; None = one of your own."""
    official = parse_options(dataset, Options).official
    return None if official is None else OFFICIAL[official]


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archive, or note the user's folder for use in place.

    Raises:
        FileNotFoundError: `dataset.source` is null: none of these sets is downloaded.
    """
    official = describe(dataset)
    if official is not None:
        fetch_source(dataset, target, official, unpacked=tuple(FOLDERS.values()))
    elif dataset.source is None:
        raise FileNotFoundError(
            "dataset.source: expected your folder or archive in Market-1501 naming "
            f"({_LAYOUT}); got null"
        )
    else:
        use_source(dataset, target)


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the pictures of the three folders; junk and distractors stay in the gallery only.

    Raises:
        FileNotFoundError: One of the three folders is missing.
        ValueError: Several such sets, a name that says no identity and camera, a query that is
            junk or a distractor, other than the official counts, or identities that cannot be
            split.
    """
    official = describe(dataset)
    top = find_top(root, tuple(FOLDERS.values()), what="Market-1501 naming")
    ignored: Counter[str] = Counter()
    listed = {
        split: _list_pictures(undouble(top / name), ignored) for split, name in FOLDERS.items()
    }
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
    if official is not None:
        warnings += compare_counts(
            table, official, kind="reid", allow_partial=dataset.allow_partial
        )
        warnings += [official.caution] if official.caution else []
    table, said = _keep_marks_to_gallery(table, allow_partial=dataset.allow_partial)
    table = hold_out_identities(table, ratio=dataset.val_ratio, seed=dataset.split_seed)
    table, class_names = label_identities(table)
    return SourceTable(table, class_names, warnings=[*warnings, *said])


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
            f"{LEFT_OUT} {int(in_train.sum())} train pictures that are junk (-1) or distractors (0)"
        )
    return table[~in_train & ~in_query].reset_index(drop=True), warnings
