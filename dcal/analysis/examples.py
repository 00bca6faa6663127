"""Which pictures stand for a data set: some of the largest to the smallest groups (ours)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dcal.analysis.data_counts import UNKNOWN
from dcal.analysis.data_findings import DataSet


class Example(NamedTuple):
    """A row of pictures with what it is called."""

    title: str
    rows: pd.DataFrame  # of the index
    captions: list[str]  # one a picture


def choose_all_examples(
    data: DataSet, *, num_groups: int = 4, num_pictures: int = 3
) -> list[Example]:
    """Return `choose_examples`, and for Re-ID `choose_across_cameras` with as many pictures."""
    examples = choose_examples(data, num_groups=num_groups, num_pictures=num_pictures)
    across = choose_across_cameras(data, num_pictures=2 * num_pictures) if data.is_reid else None
    return [*examples, across] if across else examples


def choose_examples(data: DataSet, *, num_groups: int = 4, num_pictures: int = 3) -> list[Example]:
    """Return rows of pictures that differ in nothing by chance: the same for the same index.

    Of classes, those from the most to the fewest train pictures: train pictures, then test ones.
    Of identities, those of train likewise.
    """
    trained = data.counts[data.counts["split"] == "train"]
    order = trained[trained["pictures"] > 0].sort_values("pictures", ascending=False, kind="stable")
    groups = order["group"].iloc[_spread(len(order), num_groups)]
    return [_build(data, int(group), num_pictures) for group in groups]


def choose_across_cameras(data: DataSet, *, num_pictures: int = 6) -> Example | None:
    """Return the query of the identity that most cameras saw, and a gallery picture of each camera.

    Of identities that as many saw, the first; None where no query's identity is in the gallery.
    """
    queries, gallery = data.select("query"), data.select("gallery")
    # By a number, so that pictures without a camera are of one more.
    cameras = gallery["camera"].fillna(0)
    is_asked_for = gallery["identity"].isin(queries["identity"])
    if not is_asked_for.any():
        return None
    seen = cameras[is_asked_for].groupby(gallery["identity"]).nunique()
    identity = int(seen.index[int(seen.to_numpy().argmax())])
    own = gallery[gallery["identity"] == identity].assign(camera_number=cameras)
    views = own.sort_values(["camera_number", "path"]).drop_duplicates("camera_number")
    views = views.drop(columns="camera_number").iloc[_spread(len(views), num_pictures - 1)]
    query = queries[queries["identity"] == identity].head(1)
    rows = pd.concat([query, views])
    title = f"identity {identity}: a query, then the gallery by camera"
    return Example(title, rows, [_caption(row) for row in rows.to_dict("records")])


def _build(data: DataSet, group: int, num_pictures: int) -> Example:
    column = "identity" if data.is_reid else "label"
    splits = ("train",) if data.is_reid else ("train", "test")
    num = num_pictures * 2 if data.is_reid else num_pictures
    parts = []
    for split in splits:
        part = data.select(split)
        part = part[part[column] == group]
        parts.append(part.iloc[_spread(len(part), num)])
    rows = pd.concat(parts)
    name = f"identity {group}" if data.is_reid else data.report.class_names[group]
    return Example(name, rows, [_caption(row) for row in rows.to_dict("records")])


def _caption(row: Mapping[Hashable, Any]) -> str:
    size = f"{row['width']} x {row['height']}"
    if pd.isna(row["identity"]):
        return f"{row['split']}, {size}"
    camera = UNKNOWN if pd.isna(row["camera"]) else row["camera"]
    return f"{row['split']}, camera {camera}"


def _spread(num: int, wanted: int) -> list[int]:
    """Return at most so many places from the first to the last of `num`."""
    return sorted({int(place) for place in np.linspace(0, num - 1, min(num, wanted)).round()})
