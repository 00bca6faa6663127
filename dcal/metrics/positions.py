"""Ranks of a query's positives among the kept gallery, by counting (ours).

B = queries of a block, G = gallery pictures, P = positives of a query.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcal.metrics.matches import Matches

# Counting costs a pass over the row for each positive; sorting it costs about as much as 600.
MAX_COUNTED = 256


def compute_ranks(
    distances: Tensor, matches: Matches, *, first_query: int
) -> list[NDArray[np.int64]]:
    """Return the ascending ranks of each query's positives, from 1.

    Args:
        distances: (B, G), smaller is closer; columns of junk are overwritten.
        matches: Says who is a positive of whom.
        first_query: The position of the block's first query.

    Raises:
        ValueError: A positive's distance is not finite.
    """
    if matches.is_junk.any():
        distances[:, torch.from_numpy(matches.is_junk).to(distances.device)] = torch.inf
    count = _count_in_rows if distances.device.type == "cpu" else _count_on_device
    same = [matches.find_same(first_query + row) for row in range(len(distances))]
    counts = count(distances, [positions for positions, _ in same])
    return [_leave_out(before, is_junk) for before, (_, is_junk) in zip(counts, same, strict=True)]


def _leave_out(before: NDArray[np.int64], is_junk: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Turn places in the whole gallery into ranks among what is kept."""
    places = before[~is_junk]
    return np.sort(places - np.searchsorted(np.sort(before[is_junk]), places)) + 1


def _count_in_rows(
    distances: Tensor, positions: list[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    # Of NumPy, because its comparisons and its count of trues are 60 times faster than torch's.
    rows = distances.numpy()
    buffer = np.empty(rows.shape[1], dtype=bool)
    return [
        _count_in_row(row, of_query, buffer) for row, of_query in zip(rows, positions, strict=True)
    ]


def _count_in_row(
    row: NDArray[np.float32], positions: NDArray[np.int64], buffer: NDArray[np.bool_]
) -> NDArray[np.int64]:
    _require_finite(row[positions])
    if len(positions) > MAX_COUNTED:
        places = np.empty(len(row), dtype=np.int64)
        places[np.argsort(row, kind="stable")] = np.arange(len(row))
        return places[positions]
    counts = np.empty(len(positions), dtype=np.int64)
    for number, position in enumerate(positions):
        threshold = row[position]
        np.less_equal(row[:position], threshold, out=buffer[:position])
        np.less(row[position:], threshold, out=buffer[position:])
        counts[number] = np.count_nonzero(buffer)
    return counts


def _count_on_device(
    distances: Tensor, positions: list[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    # One comparison of the whole block for the first positive of each query, one for the second...
    device = distances.device
    sizes = np.array([len(of_query) for of_query in positions])
    padded = np.zeros((len(positions), max(1, sizes.max())), dtype=np.int64)
    for row, of_query in enumerate(positions):
        padded[row, : len(of_query)] = of_query
    columns = torch.arange(distances.shape[1], device=device)
    own = torch.from_numpy(padded).to(device)  # (B, P)
    thresholds = distances.gather(1, own)
    counts = torch.empty_like(own)
    for number in range(own.shape[1]):
        threshold, position = thresholds[:, number, None], own[:, number, None]
        is_before = (distances < threshold) | ((distances == threshold) & (columns < position))
        counts[:, number] = is_before.sum(dim=1)
    found, limits = counts.cpu().numpy(), thresholds.cpu().numpy()
    for row, size in enumerate(sizes):
        _require_finite(limits[row, :size])
    return [found[row, :size] for row, size in enumerate(sizes)]


def _require_finite(distances: NDArray[np.float32]) -> None:
    if not np.isfinite(distances).all():
        raise ValueError(
            "features: expected numbers whose distances fit float32; some are too large: "
            "normalise them, or divide all by one number"
        )
