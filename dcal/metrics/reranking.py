"""k-reciprocal re-ranking (Zhong et al., CVPR 2017), sparse and in blocks.

The neighbourhood of a picture is a sparse row; no matrix of all pictures by all pictures is kept.
Re-ranked scores use what the gallery's pictures say of each other, so they stand beside the plain
ones and never in their place.

N = queries and gallery pictures together, Q = queries, G = gallery pictures, D = width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from dcal.metrics.distances import MAX_BLOCK_QUERIES, DistanceBlocks, compute_lengths

_PAIRS_AT_ONCE = 1 << 14
# One entry of a sparse row: its value and its column.
_ENTRY_BYTES = 8


@dataclass(frozen=True)
class RerankingOptions:
    """The paper's numbers, and how much memory they may take."""

    k1: int = 20  # nearest pictures that are looked at
    k2: int = 6  # of them, those whose rows are averaged; 1 = only the picture's own
    distance_weight: float = 0.3  # lambda, the share of the plain distance
    memory_limit: int = 3 << 30  # bytes beside the features


class Reranking:
    """Iterate over blocks of re-ranked distances: (position of the first query, (queries, G)).

    Of a picture's k1 nearest those are its k-reciprocal neighbours that have it among theirs; they
    are widened by the half neighbourhoods of its neighbours. The distance of two pictures is that
    of their neighbourhoods (Jaccard), mixed with the plain one, scaled by the largest of its row.

    Args:
        query_features: (Q, D).
        gallery_features: (G, D).
        options: See `RerankingOptions`.
        normalize: Divide each feature by its length first.
        on_progress: Called with (done, total) pictures while neighbours are searched.

    Raises:
        ValueError: `bound_bytes` is above the limit, or an option is out of range.
    """

    def __init__(
        self,
        query_features: Tensor,
        gallery_features: Tensor,
        options: RerankingOptions = RerankingOptions(),  # noqa: B008 - frozen
        *,
        normalize: bool = True,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        num_images = len(query_features) + len(gallery_features)
        _check_options(options, num_images=num_images, width=query_features.shape[1])
        self.num_queries = len(query_features)
        self.distance_weight = options.distance_weight
        features = torch.cat([query_features.float(), gallery_features.float()]).cpu()
        if normalize:
            features /= compute_lengths(features).float()[:, None]
        self._features = features
        neighbours, self._largest = _find_neighbours(features, options.k1 + 1, on_progress)
        vectors = self._encode(neighbours, options.k1)
        self._vectors = _average(vectors, neighbours[:, : options.k2])
        self._by_column = self._vectors[self.num_queries :].tocsc()

    def _encode(self, neighbours: NDArray[np.int32], k1: int) -> sparse.csr_array:
        """Return each picture's neighbourhood as a row that sums to 1."""
        pattern = expand_neighbours(neighbours, k1)
        rows = np.repeat(np.arange(len(neighbours)), np.diff(pattern.indptr))
        distances = _compute_pairs(self._features, rows, pattern.indices) / self._largest[rows]
        weights = sparse.csr_array(
            (np.exp(-distances), pattern.indices, pattern.indptr), shape=pattern.shape
        )
        weights.data /= np.asarray(weights.sum(axis=1), dtype=np.float32)[rows]
        return weights

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        queries, gallery = self._features[: self.num_queries], self._features[self.num_queries :]
        blocks = DistanceBlocks(queries, gallery, normalize=False)
        shares = blocks.compute_own_shares().float()
        for first, block in blocks:
            last = first + len(block)
            # From half the squared distance, less the query's own share.
            plain = block.mul_(2).add_(shares[first:last, None]).clamp_(min=0)
            plain /= torch.from_numpy(self._largest[first:last, None])
            plain *= self.distance_weight
            for row in range(len(block)):
                jaccard = self._compute_jaccard(first + row)
                plain[row] += (1 - self.distance_weight) * torch.from_numpy(jaccard)
            yield first, plain

    def _compute_jaccard(self, query: int) -> NDArray[np.float32]:
        """Return the Jaccard distance of a query to each gallery picture, (G,)."""
        own = slice(self._vectors.indptr[query], self._vectors.indptr[query + 1])
        columns, values = self._vectors.indices[own], self._vectors.data[own]
        starts = self._by_column.indptr[columns]
        sizes = self._by_column.indptr[columns + 1] - starts
        # The entries of all these columns, one after the other.
        offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        entries = offsets + np.arange(len(offsets))
        shared = np.minimum(self._by_column.data[entries], np.repeat(values, sizes))
        pictures = self._by_column.indices[entries]
        overlap = np.bincount(pictures, weights=shared, minlength=self._by_column.shape[0])
        return (1 - overlap / (2 - overlap)).astype(np.float32)


def bound_bytes(num_images: int, width: int, options: RerankingOptions) -> int:
    """Return the most that re-ranking can take beside the features, in bytes.

    A neighbourhood has at most k1 + 1 pictures, widened by half neighbourhoods of at most
    round(k1 / 2) + 1 for each; the average of k2 such rows is kept by rows and by columns. The
    features are copied once.
    """
    size, half = options.k1 + 1, round(options.k1 / 2) + 1
    widened = size * (half + 1)
    a_row = 4 * width + 4 * size + _ENTRY_BYTES * (2 * options.k2 * widened + 3 * size * half)
    blocks = 3 * 4 * MAX_BLOCK_QUERIES * num_images + 2 * 4 * _PAIRS_AT_ONCE * width
    return num_images * a_row + blocks


def expand_neighbours(neighbours: NDArray[np.int32], k1: int) -> sparse.csr_array:
    """Return for each picture its widened k-reciprocal neighbours, (N, N), with values of 1.

    Args:
        neighbours: (N, k1 + 1) nearest pictures, the picture itself among them.
        k1: See `RerankingOptions`.
    """
    reciprocal = find_reciprocal(neighbours)
    half = find_reciprocal(neighbours[:, : round(k1 / 2) + 1])
    # For a picture i and its neighbour j, how much of j's half neighbourhood is in i's own.
    shared = (reciprocal @ half.T).multiply(reciprocal).tocsr()
    sizes = np.diff(half.indptr)[shared.indices]
    shared.data = (3 * shared.data > 2 * sizes).astype(np.int32)
    expanded = (reciprocal + shared @ half).tocsr()
    expanded.eliminate_zeros()
    expanded.sort_indices()
    assert expanded.indices.dtype == np.int32
    return expanded


def find_reciprocal(neighbours: NDArray[np.int32]) -> sparse.csr_array:
    """Return the pairs that are among each other's neighbours, (N, N), with values of 1."""
    count, size = neighbours.shape
    pairs = (np.ones(neighbours.size, dtype=np.int32), neighbours.ravel())
    among = sparse.csr_array((*pairs, _list_starts(count, size)), shape=(count, count))
    both: sparse.csr_array = among.multiply(among.T).tocsr()
    return both


def _average(vectors: sparse.csr_array, neighbours: NDArray[np.int32]) -> sparse.csr_array:
    count, size = neighbours.shape
    shares = np.full(neighbours.size, 1 / size, dtype=np.float32)
    mean = sparse.csr_array(
        (shares, neighbours.ravel(), _list_starts(count, size)), shape=(count, count)
    )
    averaged: sparse.csr_array = mean @ vectors
    return averaged


def _list_starts(count: int, size: int) -> NDArray[np.int32]:
    # int32 by intent: scipy would take int64 on, and double what an entry takes.
    return np.arange(count + 1, dtype=np.int32) * np.int32(size)


def _find_neighbours(
    features: Tensor, size: int, on_progress: Callable[[int, int], None] | None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the nearest pictures of each, (N, size), and its largest squared distance, (N,).

    Among equals the lower position is first; a picture is at distance 0 from itself.
    """
    blocks = DistanceBlocks(features, features, normalize=False)
    shares = blocks.compute_own_shares().float()
    neighbours = np.empty((len(features), size), dtype=np.int32)
    largest = np.empty(len(features), dtype=np.float32)
    for first, block in blocks:
        last = first + len(block)
        block.mul_(2).add_(shares[first:last, None]).clamp_(min=0)
        block[torch.arange(len(block)), torch.arange(first, last)] = 0
        rows = block.numpy()
        largest[first:last] = rows.max(axis=1)
        for number, row in enumerate(rows, start=first):
            neighbours[number] = find_nearest(row, size)
        if on_progress is not None:
            on_progress(last, len(features))
    # Where all are equal there is nothing to scale.
    return neighbours, np.where(largest > 0, largest, 1).astype(np.float32)


def find_nearest(distances: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """Return the positions of the smallest, nearest first; among equals the lower is first."""
    if size >= len(distances):
        return np.argsort(distances, kind="stable")
    limit = np.partition(distances, size - 1)[size - 1]
    candidates = np.flatnonzero(distances <= limit)
    return candidates[np.argsort(distances[candidates], kind="stable")[:size]]


def _compute_pairs(
    features: Tensor, rows: NDArray[np.int64], columns: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the squared distance of each pair of pictures."""
    distances = np.empty(len(rows), dtype=np.float32)
    for first in range(0, len(rows), _PAIRS_AT_ONCE):
        part = slice(first, first + _PAIRS_AT_ONCE)
        difference = features[rows[part]] - features[columns[part]]
        distances[part] = difference.square_().sum(dim=1).numpy()
    return distances


def _check_options(options: RerankingOptions, *, num_images: int, width: int) -> None:
    k1, k2 = options.k1, options.k2
    if not 1 <= k1 < num_images:
        raise ValueError(
            f"k1: expected 1 to {num_images - 1}, one less than there are pictures; got {k1}"
        )
    if not 1 <= k2 <= k1 + 1:
        raise ValueError(f"k2: expected 1 to k1 + 1, which is {k1 + 1}; got {k2}")
    if not 0 <= options.distance_weight <= 1:
        raise ValueError(f"distance_weight: expected 0 to 1; got {options.distance_weight}")
    bound = bound_bytes(num_images, width, options)
    if bound > options.memory_limit:
        raise ValueError(
            f"re-ranking of {num_images} pictures takes up to {bound} bytes with k1={k1} and "
            f"k2={k2}; memory_limit is {options.memory_limit}: raise it, or lower k1 or k2"
        )
