"""Ranking as protocols describe it, one picture at a time, to hold the fast one against."""

from __future__ import annotations

import math
from typing import NamedTuple


class SlowResult(NamedTuple):
    cmc: list[float]
    mean_ap: float
    mean_inp: float
    num_valid_queries: int


def rank_slowly(
    query_features,
    gallery_features,
    query_identities,
    gallery_identities,
    query_cameras=None,
    gallery_cameras=None,
    *,
    ap="rectangle",
    normalize=True,
    junk_identity=-1,
    max_rank=50,
):
    """Sort the gallery for each query, drop junk, and walk down the list."""
    precisions, penalties, firsts = [], [], []
    for query, features in enumerate(query_features):
        order = sorted(
            range(len(gallery_features)),
            key=lambda g: compute_distance(features, gallery_features[g], normalize),
        )
        relevance = []
        for g in order:
            if gallery_identities[g] == junk_identity:
                continue
            is_same = gallery_identities[g] == query_identities[query]
            if query_cameras is not None and is_same:
                camera = query_cameras[query]
                if camera == gallery_cameras[g] and camera is not None and camera >= 0:
                    continue
            relevance.append(is_same)
        if any(relevance):
            precisions.append(score_relevance(relevance, ap))
            penalties.append(sum(relevance) / (max(r for r, x in enumerate(relevance, 1) if x)))
            firsts.append(relevance.index(True) + 1)
    if not firsts:
        return SlowResult([math.nan] * max_rank, math.nan, math.nan, 0)
    count = len(firsts)
    cmc = [sum(first <= k for first in firsts) / count for k in range(1, max_rank + 1)]
    return SlowResult(cmc, sum(precisions) / count, sum(penalties) / count, count)


def compute_distance(one, other, normalize):
    if normalize:
        one = [x / math.sqrt(sum(v * v for v in one)) for x in one]
        other = [x / math.sqrt(sum(v * v for v in other)) for x in other]
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def score_relevance(relevance, ap):
    total, hits = 0.0, 0
    for rank, is_right in enumerate(relevance, 1):
        if not is_right:
            continue
        before = 1.0 if rank == 1 else hits / (rank - 1)
        hits += 1
        total += hits / rank if ap == "rectangle" else (before + hits / rank) / 2
    return total / hits
