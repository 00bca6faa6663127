"""What is to be done to bring a gallery up to date with its folder (ours)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dcal.data.measuring import measure_pictures
from dcal.inference.gallery import Gallery, GalleryCard
from dcal.inference.own_pictures import list_pictures, require_decodable

OnProgress = Callable[[str, int, int], None]  # (what is being done, done, total)
_TYPES = {"path": "str", "sha256": "str", "num_bytes": "int64", "modified_ns": "int64"}
COLUMNS = list(_TYPES)


class Plan(NamedTuple):
    """Which embeddings of the older gallery stay, and which pictures are to be embedded."""

    kept: pd.DataFrame  # the index is the position in the older gallery
    fresh: pd.DataFrame
    removed: list[str]
    left_out: list[str]


def make_plan(
    older: Gallery | None,
    folder: Path,
    *,
    allow_partial: bool,
    drop_removed: bool,
    on_progress: OnProgress | None = None,
) -> Plan:
    """List a folder and look at what is new there or seems changed.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No picture, or pictures that cannot be decoded and may not be left out.
    """
    unnamed: list[str] = []
    listed = list_pictures(folder, unnamed=unnamed)
    known = _get_known(older)
    joined = listed.merge(known, on="path", how="left", suffixes=("", "_then"))
    is_same = joined["num_bytes"] == joined["num_bytes_then"]
    is_same &= joined["modified_ns"] == joined["modified_ns_then"]
    is_same = is_same.fillna(False).astype(bool)
    suspects = joined.loc[~is_same, ["path", "num_bytes", "modified_ns", "sha256", "position"]]
    measured, errors = measure_pictures(
        suspects.rename(columns={"sha256": "sha256_then"}),
        folder,
        verify="pixels",
        on_picture=None if on_progress is None else lambda *done: on_progress("checking", *done),
    )
    unusable = pd.concat([errors, pd.Series(unnamed, dtype="str")])
    num_pictures = len(listed) + len(unnamed)
    require_decodable(unusable, num_pictures, what=str(folder), allow_partial=allow_partial)
    is_touched = measured["sha256"] == measured["sha256_then"]  # other time, same bytes
    kept = pd.concat([joined.loc[is_same], measured[is_touched]])
    removed = sorted(set(known["path"]) - set(listed["path"]))
    if removed and not drop_removed:
        kept = pd.concat([kept, known.loc[known["path"].isin(removed)]])
    fresh = measured.loc[~is_touched, COLUMNS]
    if not len(kept) and not len(fresh):
        raise ValueError(f"{folder}: none of its {num_pictures} pictures can be decoded")
    kept = kept.set_index(kept["position"].astype("int64"))[COLUMNS].astype(_TYPES)
    left_out = [*suspects.loc[errors.index, "path"], *unnamed]
    return Plan(kept, fresh.reset_index(drop=True), removed, left_out)


def _get_known(older: Gallery | None) -> pd.DataFrame:
    known = pd.DataFrame(columns=COLUMNS) if older is None else older.features.table[COLUMNS]
    # A join leaves gaps, and nanoseconds would be rounded in a column of floats.
    types = {name: "Int64" if kind == "int64" else kind for name, kind in _TYPES.items()}
    return known.astype(types).assign(position=range(len(known)))


def is_up_to_date(older: Gallery, plan: Plan, card: GalleryCard) -> bool:
    """Say whether there is nothing to write."""
    own: Sequence[list[object]] = older.features.table[COLUMNS].to_numpy().tolist()
    planned: Sequence[list[object]] = plan.kept.sort_index().to_numpy().tolist()
    return own == planned and older.card == card
