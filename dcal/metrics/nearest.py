"""The nearest gallery pictures of each query, exactly, a block of queries at a time (ours).

Pictures at equal float32 distance stand in gallery order, as they do in `dcal.metrics.ranking`.
Q = queries, G = gallery pictures, D = width of the features, K = pictures asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcal.metrics.distances import DistanceBlocks, check_features
from dcal.metrics.matches import Matches

NONE = -1  # the position where fewer pictures are left than were asked for
Rule = Literal["junk", "identity"]
_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Nearest:
    """Positions in the gallery and squared Euclidean distances, nearest first, (Q, K).

    Where the rule leaves fewer than K pictures, a row ends in position -1 and distance NaN.
    """

    positions: NDArray[np.int64]
    distances: NDArray[np.float32]


def find_nearest(
    query_features: Tensor,
    gallery_features: Tensor,
    *,
    num: int,
    matches: Matches | None = None,
    rule: Rule = "junk",
    normalize: bool = True,
    memory_limit: int = 1 << 30,
    on_progress: Callable[[int, int], None] | None = None,
) -> Nearest:
    """Find the `num` nearest gallery pictures of each query; all where the gallery has fewer.

    Args:
        query_features: (Q, D); where the work is done, on a CPU or a GPU.
        gallery_features: (G, D).
        num: K, at least 1.
        matches: Who is whom; None = every gallery picture counts for every query.
        rule: What is left out with `matches`: `junk` is what `evaluate_ranking` leaves out (the
            query's own identity on its own camera, and the junk identity), `identity` all of the
            query's identity and the junk identity, so that only wrong ones stay.
        normalize: Divide each feature by its length first.
        memory_limit: Bytes to take beside the features, and about as much again for the choice.
        on_progress: Called with (done, total) queries.

    Raises:
        ValueError: `num` below 1, sizes that disagree, features that are not finite or too large,
            or a limit that is too small.
    """
    if num < 1:
        raise ValueError(f"num: expected at least 1 picture for each query; got {num}")
    check_features(query_features, side="query", must_have_length=normalize)
    check_features(gallery_features, side="gallery", must_have_length=normalize)
    blocks = DistanceBlocks(
        query_features, gallery_features, normalize=normalize, memory_limit=memory_limit
    )
    num = min(num, len(gallery_features))
    found = np.full((len(query_features), num), NONE, dtype=np.int64)
    for first, distances in blocks:
        _require_finite(distances)
        if matches is not None:
            _leave_out(distances, matches, first_query=first, rule=rule)
        found[first : first + len(distances)] = _choose(distances, num)
        if on_progress is not None:
            on_progress(first + len(distances), len(query_features))
    return Nearest(
        found, measure_distances(query_features, gallery_features, found, normalize=normalize)
    )


def measure_distances(
    query_features: Tensor,
    gallery_features: Tensor,
    positions: NDArray[np.int64],
    *,
    normalize: bool = True,
) -> NDArray[np.float32]:
    """Return the squared Euclidean distances of chosen pictures, (Q, K); NaN at position -1.

    From the differences, in float64: a picture is at distance 0 of itself, which 2 - 2 cos in
    float32 is not.
    """
    distances = np.empty(positions.shape, dtype=np.float32)
    for first in range(0, len(positions), _CHUNK_ROWS):
        rows = slice(first, first + _CHUNK_ROWS)
        queries = _prepare(query_features[rows], normalize)
        for column in range(positions.shape[1]):
            chosen = torch.from_numpy(positions[rows, column]).to(gallery_features.device)
            others = _prepare(gallery_features[chosen.clamp(min=0)], normalize)
            differences = queries - others.to(queries.device)
            distances[rows, column] = differences.square().sum(dim=1).cpu().numpy()
    distances[positions == NONE] = np.nan
    return distances


def compute_recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """Return the share of the exact nearest pictures that were found, over all queries.

    Args:
        found: (Q, K) positions of an approximate search; -1 counts for nothing.
        exact: (Q, K) positions of `find_nearest`.
    """
    num_found = sum(
        len(np.intersect1d(mine[mine != NONE], true[true != NONE]))
        for mine, true in zip(found, exact, strict=True)
    )
    return num_found / max(int((exact != NONE).sum()), 1)


def _prepare(features: Tensor, normalize: bool) -> Tensor:
    features = features.double()
    return features / features.norm(dim=1, keepdim=True) if normalize else features


def _leave_out(distances: Tensor, matches: Matches, *, first_query: int, rule: Rule) -> None:
    """Move what the rule leaves out behind everything else, in place."""
    if matches.is_junk.any():
        distances[:, torch.from_numpy(matches.is_junk).to(distances.device)] = torch.inf
    for row in range(len(distances)):
        same, is_junk = matches.find_same(first_query + row)
        left_out = same[is_junk] if rule == "junk" else same
        distances[row, torch.from_numpy(left_out).to(distances.device)] = torch.inf


def _choose(distances: Tensor, num: int) -> NDArray[np.int64]:
    """Return the positions of each row's `num` smallest values, equal ones in gallery order."""
    limits = distances.topk(num, dim=1, largest=False).values[:, -1:]
    # topk takes any of those that equal the last one, so all of them are candidates here.
    rows, columns = _find_up_to(distances, limits)
    values = distances[torch.from_numpy(rows), torch.from_numpy(columns)].cpu().numpy()
    # Stable, and the columns of a row come ascending.
    order = np.lexsort((values, rows))
    starts = np.searchsorted(rows, np.arange(len(distances)))
    chosen = order[starts[:, None] + np.arange(num)]
    return np.where(np.isfinite(values[chosen]), columns[chosen], NONE)


def _find_up_to(distances: Tensor, limits: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if distances.device.type == "cpu":  # NumPy's comparisons are many times faster than torch's
        rows, columns = np.nonzero(distances.numpy() <= limits.numpy())
        return rows, columns
    found = (distances <= limits).nonzero().cpu().numpy()
    return found[:, 0], found[:, 1]


def _require_finite(distances: Tensor) -> None:
    if not bool(torch.isfinite(distances.sum(dim=1)).all()):
        raise ValueError(
            "features: expected numbers whose distances fit float32; some are too large: "
            "normalise them, or divide all by one number"
        )
