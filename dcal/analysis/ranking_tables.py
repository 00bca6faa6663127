"""From a ranking to the tables that are read: ranked lists, worst queries, mix-ups (ours)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcal.metrics.nearest import NONE, Nearest

# A spawn key of its own keeps this choice apart from other uses of the run's seed.
_QUERY_CHOICE = 1002
_ROUNDING = 1e-9

RANKING_COLUMNS = (
    "query",
    "query_identity",
    "query_camera",
    "rank",
    "path",
    "distance",
    "identity",
    "camera",
    "is_right",
)
CONFUSION_COLUMNS = (
    "identity",
    "wrong_identity",
    "num_queries",
    "num_ahead",
    "share",
    "distance",
    "query",
    "path",
)


def build_ranking_table(
    queries: pd.DataFrame, gallery: pd.DataFrame, nearest: Nearest
) -> pd.DataFrame:
    """List the nearest gallery pictures of each query, nearest first.

    Args:
        queries: One row a query: path, identity, camera; an identity or camera may be missing.
        gallery: One row a picture, likewise.
        nearest: What `find_nearest` found, over the same rows.

    Returns:
        `RANKING_COLUMNS`; ranks count from 1 among the pictures that were kept, and `is_right` is
        empty where the query's identity is not known. A query with nothing left has no row.
    """
    num_queries, num = nearest.positions.shape
    is_found = (nearest.positions != NONE).ravel()
    own = queries.take(np.repeat(np.arange(num_queries), num)[is_found])
    found = gallery.take(nearest.positions.ravel()[is_found])
    table = pd.DataFrame(
        {
            "query": own["path"].to_numpy(),
            "query_identity": own["identity"].array,
            "query_camera": own["camera"].array,
            "rank": np.tile(np.arange(1, num + 1), num_queries)[is_found],
            "path": found["path"].to_numpy(),
            "distance": nearest.distances.ravel()[is_found],
            "identity": found["identity"].array,
            "camera": found["camera"].array,
        }
    )
    table["is_right"] = _compare(own["identity"], found["identity"])
    return table[list(RANKING_COLUMNS)]


def choose_queries(
    average_precisions: NDArray[np.float64], *, num: int, seed: int
) -> NDArray[np.int64]:
    """Draw valid queries to look at; the positions ascend, and are all where there are fewer."""
    valid = np.flatnonzero(~np.isnan(average_precisions))
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_QUERY_CHOICE,)))
    return np.sort(generator.permutation(valid)[:num])


def find_worst_queries(average_precisions: NDArray[np.float64], *, num: int) -> NDArray[np.int64]:
    """Return the valid queries of lowest average precision, worst first, equal ones in order.

    A query that found everything first is none of them, however few are left.
    """
    order = np.argsort(average_precisions, kind="stable")  # NaN, of invalid ones, comes last
    # A sum of shares that make 1 may be a rounding error below it.
    is_bad = average_precisions < 1 - _ROUNDING
    return order[: min(num, int(is_bad.sum()))]


def select_queries(
    table: pd.DataFrame, queries: pd.DataFrame, positions: Sequence[int] | NDArray[np.int64]
) -> pd.DataFrame:
    """Return the rows of a ranking table that belong to some queries, in the order given."""
    places = {path: place for place, path in enumerate(queries["path"].iloc[list(positions)])}
    own = table["query"].map(places)
    kept = table.loc[own.notna()]
    return kept.loc[own.dropna().sort_values(kind="stable").index].reset_index(drop=True)


def build_confusions(
    queries: pd.DataFrame,
    gallery: pd.DataFrame,
    nearest_wrong: Nearest,
    first_ranks: NDArray[np.int64],
) -> pd.DataFrame:
    """Count which identity is the nearest wrong one of the queries of each identity.

    Args:
        queries: One row a query: path and identity.
        gallery: One row a picture, likewise.
        nearest_wrong: What `find_nearest` found with the rule `identity`; its first column counts.
        first_ranks: Of the ranking's result: the rank of each query's nearest right picture, 0
            where it has none.

    Returns:
        `CONFUSION_COLUMNS`, a row a pair that was seen: the number of queries, of those ranked
        ahead of every right picture (num_ahead), the share of the identity's queries, and the
        smallest distance with its two pictures. Most often ahead first, then most often seen.
    """
    positions = nearest_wrong.positions[:, 0]
    is_found = positions != NONE
    own, found = queries.loc[is_found], gallery.take(positions[is_found])
    pairs = pd.DataFrame(
        {
            "identity": own["identity"].to_numpy(),
            "wrong_identity": found["identity"].to_numpy(),
            "is_ahead": (first_ranks > 1)[is_found],
            "distance": nearest_wrong.distances[is_found, 0],
            "query": own["path"].to_numpy(),
            "path": found["path"].to_numpy(),
        }
    )
    pairs = pairs.sort_values("distance", kind="stable")
    groups = pairs.groupby(["identity", "wrong_identity"], sort=True)
    table = groups.agg(
        num_queries=("distance", "size"),
        num_ahead=("is_ahead", "sum"),
        distance=("distance", "first"),
        query=("query", "first"),
        path=("path", "first"),
    ).reset_index()
    totals = queries["identity"].value_counts()
    table["share"] = table["num_queries"] / table["identity"].map(totals)
    table = table.sort_values(
        ["num_ahead", "num_queries", "distance"], ascending=[False, False, True], kind="stable"
    )
    return table[list(CONFUSION_COLUMNS)].reset_index(drop=True)


def _compare(own: pd.Series, found: pd.Series) -> pd.api.extensions.ExtensionArray:
    """Say where two identities are one; empty where the query's is not known."""
    is_right = [
        pd.NA if pd.isna(one) else not pd.isna(other) and one == other
        for one, other in zip(own.tolist(), found.tolist(), strict=True)
    ]
    return pd.array(is_right, dtype="boolean")
