"""Where a ranking is right: from camera to camera, and at which distance (ours)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcal.inference.embedding import Branch
from dcal.inference.features import Features
from dcal.metrics.nearest import NONE, find_nearest, measure_distances
from dcal.training.retrieval import match_table


def compare_cameras(features: Features, *, branch: Branch, memory_limit: int) -> pd.DataFrame:
    """Ask each gallery camera for its picture that is nearest to each query of other cameras.

    Returns:
        `query` (its position among the queries), `query_camera`, `camera` and `is_right`, of each
        pair of a query and another camera that shows its identity; cameras that are not known take
        no part.
    """
    parts = [
        _ask_camera(features, camera, branch=branch, memory_limit=memory_limit)
        for camera in _list_gallery_cameras(features)
    ]
    columns = ["query", "query_camera", "camera", "is_right"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def measure_nearest_right(features: Features, *, branch: Branch) -> NDArray[np.float32]:
    """Return the squared Euclidean distance of each query's nearest right picture, (Q,).

    NaN for an invalid query.
    """
    matches = match_table(features.table)
    kept = []
    for query in range(matches.num_queries):
        same, is_junk = matches.find_same(query)
        kept.append(same[~is_junk])
    positions = np.full((len(kept), max(1, *map(len, kept))), NONE, dtype=np.int64)
    for row, of_query in enumerate(kept):
        positions[row, : len(of_query)] = of_query
    _, queries = features.select("query", branch)
    _, gallery = features.select("gallery", branch)
    distances = measure_distances(queries, gallery, positions, normalize=False)
    return np.fmin.reduce(distances, axis=1)


def _list_gallery_cameras(features: Features) -> list[int]:
    table = features.table
    cameras = table.loc[table["split"] == "gallery", "camera"].dropna()
    return sorted(int(camera) for camera in cameras.unique() if camera >= 0)


def _ask_camera(
    features: Features, camera: int, *, branch: Branch, memory_limit: int
) -> pd.DataFrame:
    table, queries = features.select("query", branch)
    pictures, gallery = features.select("gallery", branch)
    is_shown = (pictures["camera"] == camera).to_numpy(dtype=bool, na_value=False)
    pictures = pictures.loc[is_shown]
    is_asked = ((table["camera"] >= 0) & (table["camera"] != camera)).to_numpy(
        dtype=bool, na_value=False
    ) & table["identity"].isin(pictures["identity"]).to_numpy()
    asked = np.flatnonzero(is_asked)
    found = pd.DataFrame({"query": asked, "query_camera": table["camera"].array[asked]})
    found["camera"], found["is_right"] = camera, False
    if len(asked):
        nearest = find_nearest(
            queries[asked],
            gallery[np.flatnonzero(is_shown)],
            num=1,
            normalize=False,
            memory_limit=memory_limit,
        )
        identities = pictures["identity"].to_numpy()[nearest.positions[:, 0]]
        found["is_right"] = identities == table["identity"].to_numpy()[asked]
    return found
