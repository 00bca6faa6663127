"""VehicleID's protocol: one picture of each identity, drawn by chance, is the gallery.

The others are the queries, there are no cameras, and scores are means over ten draws (definitions:
`dcal.metrics.ranking`). N = pictures, D = width of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcal.metrics.ranking import RankingResult, Values, evaluate_ranking

NUM_DRAWS = 10


@dataclass(frozen=True)
class DrawnRanking:
    """Means over draws, and each draw's own result.

    With one positive a query, mean AP and mean INP are both the mean reciprocal rank.
    """

    cmc: NDArray[np.float64]  # (max_rank,)
    mean_ap: float
    seed: int  # draw i is a function of (seed, i) and the identities
    results: tuple[RankingResult, ...]


def evaluate_draws(
    features: Tensor,
    identities: Values,
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    **options: Any,
) -> DrawnRanking:
    """Score so many draws of a gallery.

    Args:
        features: (N, D).
        identities: (N,).
        num_draws: 10 in the literature.
        seed: Of the draws.
        options: Of `evaluate_ranking`.

    Raises:
        ValueError: No draw, no identity with two pictures, or what `evaluate_ranking` refuses.
    """
    if isinstance(identities, Tensor):
        identities = identities.cpu().numpy()
    names = pd.Series(identities).reset_index(drop=True)
    if num_draws < 1:
        raise ValueError(f"num_draws: expected at least 1; got {num_draws}")
    if len(names) != len(features):
        raise ValueError(f"identities: expected {len(features)}, one a feature; got {len(names)}")
    if not names.duplicated().any():
        raise ValueError(
            "identities: expected one at least with two pictures, of which one is a query; got "
            f"{len(names)} with one picture each"
        )
    results = []
    for draw in range(num_draws):
        is_gallery = draw_gallery(names, seed=seed, draw=draw)
        chosen = torch.from_numpy(is_gallery)
        result = evaluate_ranking(
            query_features=features[~chosen],
            gallery_features=features[chosen],
            query_identities=names[~is_gallery].to_numpy(),
            gallery_identities=names[is_gallery].to_numpy(),
            **options,
        )
        results.append(result)
    return DrawnRanking(
        cmc=np.mean([result.cmc for result in results], axis=0),
        mean_ap=float(np.mean([result.mean_ap for result in results])),
        seed=seed,
        results=tuple(results),
    )


def draw_gallery(identities: pd.Series, *, seed: int, draw: int) -> NDArray[np.bool_]:
    """Choose one picture of each identity, (N,)."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(draw,)))
    order = pd.Series(generator.permutation(len(identities)), index=identities.index)
    is_gallery = np.zeros(len(identities), dtype=bool)
    is_gallery[order.groupby(identities).idxmin()] = True
    return is_gallery
