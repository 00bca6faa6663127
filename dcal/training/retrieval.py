"""Re-ID scores of a split, from what a model makes of its pictures (DCAL, inference for Re-ID)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcal.collectives import broadcast, deal_back, gather_to_first
from dcal.data.identities import JUNK
from dcal.metrics.matches import UNKNOWN, Matches, find_matches
from dcal.metrics.ranking import RankingResult, evaluate_ranking

SCORED_RANKS = (1, 5, 10)


class RetrievalMeter:
    """Collects embeddings while a split is run, and ranks them at its end.

    `table` holds the split's rows of the index, or more; its frame's index is the row. Where
    batches are dealt out over several processes, the first one ranks all of them, in their order.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self._rows: list[Tensor] = []
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, rows: Tensor, embeddings: Mapping[str, Tensor]) -> None:
        """Add a batch: its rows (B,), and the embeddings of each branch (B, D)."""
        self._rows.append(rows.cpu())
        for branch, values in embeddings.items():
            self._parts.setdefault(branch, []).append(values.cpu())

    def pop(self) -> dict[str, float]:
        """Return `<branch>/<score>` of what was added, and begin anew; nothing for no batch."""
        hands = gather_to_first((self._rows, self._parts))
        self._rows, self._parts = [], {}
        return broadcast({} if hands is None else self._rank(hands))

    def _rank(self, hands: list[tuple[list[Tensor], dict[str, list[Tensor]]]]) -> dict[str, float]:
        scores: dict[str, float] = {}
        rows = deal_back([rows for rows, _ in hands])
        if not rows:
            return scores
        table = self.table.loc[torch.cat(rows).numpy()]
        for branch in hands[0][1]:  # the first process has a batch where any has
            parts = deal_back([parts.get(branch, []) for _, parts in hands])
            result = rank_embeddings(torch.cat(parts), table)
            scores |= {f"{branch}/{name}": value for name, value in list_scores(result).items()}
        return scores


class Roles(NamedTuple):
    """Who asks, who may be found, and what is known of each picture of a table, (N,)."""

    is_query: NDArray[np.bool_]
    is_gallery: NDArray[np.bool_]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]

    def list_sides(self) -> dict[str, Any]:
        """Return identities and cameras as `evaluate_ranking` takes them."""
        return {
            f"{side}_{name}": values[is_on]
            for side, is_on in (("query", self.is_query), ("gallery", self.is_gallery))
            for name, values in (("identities", self.identities), ("cameras", self.cameras))
        }


def assign_roles(table: pd.DataFrame) -> Roles:
    """Let queries ask for gallery pictures, or, in val, each picture for all others."""
    splits = table["split"].to_numpy()
    is_query, is_gallery = (splits == "query", splits == "gallery")
    cameras = table["camera"].fillna(UNKNOWN).to_numpy(dtype=np.int64)
    if not is_query.any():
        # A picture is no match of itself. Where its camera is known, the camera rule sees to that;
        # where not, a camera of its own does.
        is_query = is_gallery = np.ones(len(table), dtype=bool)
        cameras = _give_own_cameras(cameras)
    return Roles(is_query, is_gallery, table["identity"].to_numpy(dtype=np.int64), cameras)


def match_table(table: pd.DataFrame) -> Matches:
    """Return who is whom of a table."""
    roles = assign_roles(table)
    return find_matches(
        **roles.list_sides(),
        junk_identity=JUNK,
        num_queries=int(roles.is_query.sum()),
        num_gallery=int(roles.is_gallery.sum()),
    )


def count_scorable(table: pd.DataFrame) -> int:
    """Count the queries that have a match to be found."""
    matches = match_table(table)
    return sum(not matches.find_same(query)[1].all() for query in range(matches.num_queries))


def rank_embeddings(embeddings: Tensor, table: pd.DataFrame, **options: Any) -> RankingResult:
    """Rank the pictures that may be found for those that ask; see `assign_roles`.

    Args:
        embeddings: (N, D), normalised.
        table: Their rows of the index, in the same order.
        options: Of `evaluate_ranking`.
    """
    roles = assign_roles(table)
    return evaluate_ranking(
        query_features=embeddings[torch.from_numpy(roles.is_query)],
        gallery_features=embeddings[torch.from_numpy(roles.is_gallery)],
        **roles.list_sides(),
        normalize=False,
        junk_identity=JUNK,
        **options,
    )


def list_scores(result: RankingResult) -> dict[str, float]:
    """Return the scores by their names in tables: `mean_ap`, `mean_inp`, `cmc_1`, ..."""
    ranks = {f"cmc_{rank}": float(result.cmc[rank - 1]) for rank in SCORED_RANKS}
    return {"mean_ap": result.mean_ap, "mean_inp": result.mean_inp, **ranks}


def _give_own_cameras(cameras: NDArray[np.int64]) -> NDArray[np.int64]:
    first = int(cameras.max()) + 1
    return np.where(cameras == UNKNOWN, first + np.arange(len(cameras)), cameras)
