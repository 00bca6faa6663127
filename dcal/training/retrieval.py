"""Re-ID scores of a split, from what a model makes of its pictures (DCAL, inference for Re-ID)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcal.data.identities import JUNK
from dcal.metrics.matches import UNKNOWN
from dcal.metrics.ranking import RankingResult, evaluate_ranking

SCORED_RANKS = (1, 5, 10)


class RetrievalMeter:
    """Collects embeddings while a split is run, and ranks them at its end.

    `table` holds the split's rows of the index, or more; its frame's index is the row.
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
        if not self._rows:
            return {}
        table = self.table.loc[torch.cat(self._rows).numpy()]
        scores: dict[str, float] = {}
        for branch, parts in self._parts.items():
            result = rank_embeddings(torch.cat(parts), table)
            scores |= {f"{branch}/{name}": value for name, value in list_scores(result).items()}
        self._rows, self._parts = [], {}
        return scores


def rank_embeddings(embeddings: Tensor, table: pd.DataFrame, **options: Any) -> RankingResult:
    """Rank the gallery pictures for the query ones, or, in val, each picture against all others.

    Args:
        embeddings: (N, D), normalised.
        table: Their rows of the index, in the same order.
        options: Of `evaluate_ranking`.
    """
    splits = table["split"].to_numpy()
    is_query, is_gallery = (splits == "query", splits == "gallery")
    cameras = table["camera"].fillna(UNKNOWN).to_numpy(dtype=np.int64)
    if not is_query.any():
        # A picture is no match of itself. Where its camera is known, the camera rule sees to that;
        # where not, a camera of its own does.
        is_query = is_gallery = np.ones(len(table), dtype=bool)
        cameras = _give_own_cameras(cameras)
    identities = table["identity"].to_numpy(dtype=np.int64)
    return evaluate_ranking(
        query_features=embeddings[torch.from_numpy(is_query)],
        gallery_features=embeddings[torch.from_numpy(is_gallery)],
        query_identities=identities[is_query],
        gallery_identities=identities[is_gallery],
        query_cameras=cameras[is_query],
        gallery_cameras=cameras[is_gallery],
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
