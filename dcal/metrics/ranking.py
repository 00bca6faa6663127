"""Ranking scores of re-identification: CMC, mAP, mINP (definitions: the docs of each function).

A positive's rank is one more than the count of kept gallery pictures before it, so nothing is
sorted. Pictures at equal float32 distance rank in gallery order; pictures of equal features are at
equal distance, whatever the blocks.

Q = queries, G = gallery pictures, D = width of the features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcal.metrics.distances import DistanceBlocks, check_features
from dcal.metrics.matches import Matches, find_matches
from dcal.metrics.positions import compute_ranks
from dcal.metrics.reranking import Reranking, RerankingOptions

logger = logging.getLogger(__name__)

AveragePrecision = Literal["rectangle", "trapezoid"]
Values = Sequence[Any] | NDArray[Any] | pd.Series | Tensor
MAX_RANK = 50


@dataclass(frozen=True)
class RankingResult:
    """Scores over the valid queries, and what they are made of, a value a query.

    A query is valid if the gallery keeps a picture of its identity. The means are NaN where no
    query is valid.
    """

    cmc: NDArray[np.float64]  # (max_rank,); cmc[0] is rank-1
    mean_ap: float
    mean_inp: float
    num_queries: int
    num_valid_queries: int
    num_without_identity: int  # invalid: the gallery never shows the identity
    average_precisions: NDArray[np.float64]  # (Q,), NaN where invalid, as the next
    inverse_negative_penalties: NDArray[np.float64]  # (Q,)
    first_ranks: NDArray[np.int64]  # (Q,) of the nearest positive, from 1; 0 where invalid
    num_positives: NDArray[np.int64]  # (Q,)
    reranked: RankingResult | None = None  # with k-reciprocal re-ranking, where it was asked for

    @property
    def num_invalid_queries(self) -> int:
        """Count the queries that no score includes."""
        return self.num_queries - self.num_valid_queries


def evaluate_ranking(
    *,
    query_features: Tensor,
    gallery_features: Tensor,
    query_identities: Values,
    gallery_identities: Values,
    query_cameras: Values | None = None,
    gallery_cameras: Values | None = None,
    ap: AveragePrecision = "rectangle",
    normalize: bool = True,
    junk_identity: Any = -1,
    max_rank: int = MAX_RANK,
    memory_limit: int = 1 << 30,
    rerank: RerankingOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> RankingResult:
    """Rank the gallery for every query and score the ranks.

    Left out of a query's ranking are gallery pictures of its own identity and camera, and those of
    `junk_identity`. A camera that is not known (negative, NaN, None, or "-1" among texts) equals no
    other. Without cameras nothing is left out for its camera.

    Args:
        query_features: (Q, D); where the work is done, on a CPU or a GPU.
        gallery_features: (G, D).
        query_identities: (Q,) integers or texts.
        gallery_identities: (G,), of the same kind.
        query_cameras: (Q,) integers or texts; None for both sides = no camera rule.
        gallery_cameras: (G,).
        ap: `rectangle` is the mean of the precisions at the positives, as most papers since 2018
            have it; `trapezoid` is that of the original Market-1501 and VeRi-776 code, and is
            never larger.
        normalize: Divide each feature by its length, so that the order is that of the cosine;
            False = the order of Euclid's distance of the features as they are.
        junk_identity: Market-1501's mark of detections that are neither right nor wrong; among
            identities that are texts, the number's text.
        max_rank: Length of the CMC curve.
        memory_limit: Bytes to take beside the features.
        rerank: Score the re-ranked order too, as `reranked` beside the plain scores; it has a
            memory limit of its own, and pictures of `junk_identity` take no part in it.
        on_progress: Called with (done, total) queries.

    Raises:
        ValueError: Sizes that disagree, no picture on a side, a feature that is not finite or (to
            be normalised) zero, identities of two kinds, an unknown option, or a limit that is too
            small; the message names the picture by its position.
    """
    check_options(ap, max_rank)
    check_features(query_features, side="query", must_have_length=normalize)
    check_features(gallery_features, side="gallery", must_have_length=normalize)
    matches = find_matches(
        query_identities,
        gallery_identities,
        query_cameras,
        gallery_cameras,
        junk_identity=junk_identity,
        num_queries=len(query_features),
        num_gallery=len(gallery_features),
    )
    blocks = DistanceBlocks(
        query_features, gallery_features, normalize=normalize, memory_limit=memory_limit
    )
    ranks = _rank_blocks(blocks, matches, on_progress)
    result = summarise_ranks(ranks, matches, ap=ap, max_rank=max_rank)
    if result.num_invalid_queries:
        logger.warning("%s", describe_invalid(result))
    if rerank is None:
        return result
    is_kept = torch.from_numpy(~matches.is_junk).to(gallery_features.device)
    reranked = Reranking(
        query_features,
        gallery_features[is_kept],
        rerank,
        normalize=normalize,
        on_progress=on_progress,
    )
    kept_matches = matches.drop_junk()
    ranks = _rank_blocks(reranked, kept_matches, on_progress)
    return replace(result, reranked=summarise_ranks(ranks, kept_matches, ap=ap, max_rank=max_rank))


def check_options(ap: str, max_rank: Any) -> None:
    """Raise a ValueError where an option is none that there is."""
    if ap not in get_args(AveragePrecision):
        known = " or ".join(get_args(AveragePrecision))
        raise ValueError(f"ap: expected {known}; got {ap!r}")
    if isinstance(max_rank, bool) or not isinstance(max_rank, int) or max_rank < 1:
        raise ValueError(f"max_rank: expected a whole number of at least 1; got {max_rank!r}")


def _rank_blocks(
    blocks: Iterable[tuple[int, Tensor]],
    matches: Matches,
    on_progress: Callable[[int, int], None] | None,
) -> list[NDArray[np.int64]]:
    ranks: list[NDArray[np.int64]] = []
    for first, distances in blocks:
        ranks += compute_ranks(distances, matches, first_query=first)
        if on_progress is not None:
            on_progress(len(ranks), matches.num_queries)
    return ranks


def summarise_ranks(
    ranks: Sequence[NDArray[np.int64]],
    matches: Matches,
    *,
    ap: AveragePrecision = "rectangle",
    max_rank: int = MAX_RANK,
) -> RankingResult:
    """Score the ascending ranks of each query's positives; none = an invalid query."""
    num_positives = np.array([len(of_query) for of_query in ranks], dtype=np.int64)
    is_valid = num_positives > 0
    precisions = np.array([compute_average_precision(of_query, ap=ap) for of_query in ranks])
    penalties = np.array(
        [len(of_query) / of_query[-1] if len(of_query) else np.nan for of_query in ranks]
    )
    first_ranks = np.array([of_query[0] if len(of_query) else 0 for of_query in ranks])
    return RankingResult(
        cmc=compute_cmc(first_ranks[is_valid], max_rank=max_rank),
        mean_ap=_mean(precisions[is_valid]),
        mean_inp=_mean(penalties[is_valid]),
        num_queries=len(ranks),
        num_valid_queries=int(is_valid.sum()),
        num_without_identity=matches.num_without_identity,
        average_precisions=precisions,
        inverse_negative_penalties=penalties,
        first_ranks=first_ranks,
        num_positives=num_positives,
    )


def describe_invalid(result: RankingResult) -> str:
    """Say how many queries are in no score, and why."""
    num_hidden = result.num_invalid_queries - result.num_without_identity
    reasons = {
        f"{result.num_without_identity} of an identity that the gallery lacks": (
            result.num_without_identity
        ),
        f"{num_hidden} whose identity the gallery shows to the query's own camera only": num_hidden,
    }
    told = ", ".join(reason for reason, count in reasons.items() if count)
    left = "" if result.num_valid_queries else "; so there is no score"
    return (
        f"{result.num_invalid_queries} of {result.num_queries} queries have no match to be found "
        f"and are in no score: {told}{left}"
    )


def compute_average_precision(
    ranks: NDArray[np.int64], *, ap: AveragePrecision = "rectangle"
) -> float:
    """Return the average precision of one query; NaN without positives.

    Args:
        ranks: (P,) of its positives, from 1, ascending.
        ap: With i the place among the positives and r_i its rank, the mean of i / r_i
            (rectangle), or of that and the precision just before the rank, (i - 1) / (r_i - 1),
            which counts as 1 at the first rank (trapezoid).
    """
    if not len(ranks):
        return float("nan")
    places = np.arange(1, len(ranks) + 1)
    precisions = places / ranks
    if ap == "trapezoid":
        before = np.where(ranks > 1, (places - 1) / np.maximum(ranks - 1, 1), 1.0)
        precisions = (before + precisions) / 2
    return float(precisions.mean())


def compute_cmc(first_ranks: NDArray[np.int64], *, max_rank: int) -> NDArray[np.float64]:
    """Return for k = 1..max_rank the share of queries with a positive among the first k.

    NaN without queries. A gallery shorter than `max_rank` leaves the curve flat at its end.
    """
    if not len(first_ranks):
        return np.full(max_rank, np.nan)
    counts = np.bincount(first_ranks[first_ranks <= max_rank], minlength=max_rank + 1)
    return np.cumsum(counts[1:]) / len(first_ranks)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
