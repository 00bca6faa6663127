"""Distances of queries to a gallery, a block of queries at a time (ours).

Q = queries, G = gallery pictures, D = width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Larger products are not faster, and a row is to be in the cache when it is counted.
MAX_BLOCK_QUERIES = 512
CHUNK_BYTES = 1 << 26  # of features that have to be moved or converted
CACHED_BYTES = 3 << 20


def check_features(features: Tensor, *, side: str, must_have_length: bool) -> None:
    """Check the features of one side.

    Raises:
        ValueError: Not a matrix of floats, empty, not finite, or of length zero.
    """
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(
            f"{side} features: expected a matrix of floats, (pictures, width); got "
            f"{features.dtype} of shape {tuple(features.shape)}"
        )
    if not features.shape[0] or not features.shape[1]:
        raise ValueError(
            f"{side} features: expected at least one picture and a width above 0; got shape "
            f"{tuple(features.shape)}"
        )
    lengths = compute_lengths(features)
    _refuse(~torch.isfinite(lengths), side, "NaN or infinite")
    if must_have_length:
        _refuse(lengths == 0, side, "all zeros, which has no direction to compare")


def compute_lengths(features: Tensor) -> Tensor:
    """Return the Euclidean length of each row, (N,), in float64: squares may overflow float32."""
    lengths = features.new_empty(len(features), dtype=torch.float64)
    # In pieces that a processor's cache holds: ten times as fast as in large ones. In one buffer:
    # pieces of their own, freed between small results, leave holes as large as the whole.
    rows = max(1, min(len(features), CACHED_BYTES // (8 * features.shape[1])))
    buffer = features.new_empty((rows, features.shape[1]), dtype=torch.float64)
    for chunk, part in zip(features.detach().split(rows), lengths.split(rows), strict=True):
        piece = buffer[: len(chunk)].copy_(chunk)
        torch.linalg.vector_norm(piece, dim=1, out=part)
    return lengths


class DistanceBlocks:
    """Iterate over blocks of queries: (position of the first query, distances of the block).

    A block is (queries, G) in float32, on the device of the query features; it is overwritten by
    the next one. Smaller is closer. Normalised features give minus the cosine; others give Euclid's
    squared distance, halved, less the query's own share: the same order, a query at a time.
    """

    def __init__(
        self,
        query_features: Tensor,
        gallery_features: Tensor,
        *,
        normalize: bool = True,
        memory_limit: int = 1 << 30,
    ) -> None:
        if query_features.shape[1] != gallery_features.shape[1]:
            raise ValueError(
                "features: expected one width on both sides; got "
                f"{query_features.shape[1]} for the queries and {gallery_features.shape[1]} for "
                "the gallery: are they of one model?"
            )
        self.queries, self.gallery = query_features, gallery_features
        self.normalize = normalize
        self.device = query_features.device
        lengths = compute_lengths(gallery_features).to(self.device)
        column = 1 / lengths if normalize else lengths.square() / 2
        self.column = column.float()  # (G,)
        self.num_block_queries = self._fit_block(memory_limit)

    def _fit_block(self, memory_limit: int) -> int:
        num_gallery, width = self.gallery.shape
        # Lengths in float64 and float32, a row of booleans, and features on their way; and 25 bytes
        # a picture for who is whom (dcal.metrics.matches), which the caller holds.
        fixed = (13 + 25) * num_gallery + (0 if self._is_in_place() else CHUNK_BYTES)
        a_query = 4 * (num_gallery + width)
        fitting = (memory_limit - fixed) // a_query
        if fitting < 1:
            raise ValueError(
                f"memory_limit: expected at least {fixed + a_query} bytes for a gallery of "
                f"{num_gallery} pictures; got {memory_limit}"
            )
        return min(fitting, MAX_BLOCK_QUERIES, len(self.queries))

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        buffer = torch.empty(
            (self.num_block_queries, len(self.gallery)), dtype=torch.float32, device=self.device
        )
        for first in range(0, len(self.queries), self.num_block_queries):
            queries = self.queries[first : first + self.num_block_queries].float()
            yield first, self._fill(buffer[: len(queries)], queries)

    def _fill(self, block: Tensor, queries: Tensor) -> Tensor:
        if self.normalize:
            queries = (queries / compute_lengths(queries)[:, None]).float()
        self._multiply(-queries, block)
        return block.mul_(self.column) if self.normalize else block.add_(self.column)

    def _multiply(self, queries: Tensor, block: Tensor) -> None:
        if self._is_in_place():
            torch.mm(queries, self.gallery.T, out=block)
            return
        first = 0
        for chunk in self.gallery.split(_rows_of_a_chunk(self.gallery)):
            moved = chunk.to(self.device, torch.float32)
            block[:, first : first + len(moved)] = queries @ moved.T
            first += len(moved)

    def _is_in_place(self) -> bool:
        return self.gallery.device == self.device and self.gallery.dtype == torch.float32


def _rows_of_a_chunk(features: Tensor) -> int:
    return max(1, CHUNK_BYTES // (8 * features.shape[1]))


def _refuse(is_bad: Tensor, side: str, what: str) -> None:
    positions = is_bad.nonzero()[:, 0]
    if len(positions):
        first = ", ".join(str(position) for position in positions[:5].tolist())
        raise ValueError(
            f"{side} features: expected finite numbers, not all zero; those of {len(positions)} "
            f"pictures are {what}, at positions {first}{' ...' if len(positions) > 5 else ''}"
        )
