"""Distances of queries to a gallery, a block of queries at a time (ours).

Q = queries, G = gallery pictures, D = width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dcal.metrics.copies import CACHED_BYTES, find_copies

# Larger products are not faster, and a row is to be in the cache when it is counted.
MAX_BLOCK_QUERIES = 512
CHUNK_BYTES = 1 << 26  # of features that have to be moved or converted


def check_features(features: Any, *, side: str, must_have_length: bool) -> None:
    """Check the features of one side.

    Raises:
        ValueError: Not a matrix of floats, empty, not finite, or of length zero.
    """
    if not isinstance(features, Tensor):
        raise ValueError(
            f"{side} features: expected a torch tensor; got {type(features).__name__}: "
            "torch.from_numpy turns an array into one"
        )
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


def compute_lengths(features: Tensor, *, center: Tensor | None = None) -> Tensor:
    """Return the Euclidean length of each row, (N,), in float64: squares may overflow float32.

    With `center`, (D,) in float64, that of the differences from it.
    """
    lengths = features.new_empty(len(features), dtype=torch.float64)
    # In pieces that a processor's cache holds: ten times as fast as in large ones. In one buffer:
    # pieces of their own, freed between small results, leave holes as large as the whole.
    rows = max(1, min(len(features), CACHED_BYTES // (8 * features.shape[1])))
    buffer = features.new_empty((rows, features.shape[1]), dtype=torch.float64)
    for chunk, part in zip(features.detach().split(rows), lengths.split(rows), strict=True):
        piece = buffer[: len(chunk)].copy_(chunk)
        if center is not None:
            piece -= center
        torch.linalg.vector_norm(piece, dim=1, out=part)
    return lengths


def choose_center(features: Tensor) -> Tensor:
    """Return a point amid the features, (D,) in float64, to take differences from.

    Far from the origin, products of the features themselves would swallow their differences. It is
    the mean, rounded to a power of two near the features' spread: so small whole numbers stay such,
    and their distances exact.
    """
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for chunk in features.split(_rows_of_a_chunk(features)):
        total += chunk.sum(dim=0, dtype=torch.float64)
    mean = total / len(features)
    spread = (compute_lengths(features).square().mean() - mean.square().sum()) / len(mean)
    if not spread > 0:  # all are equal, but for rounding
        return torch.zeros_like(mean)
    step = torch.exp2(torch.floor(torch.log2(spread) / 2))
    return torch.round(mean / step) * step


class DistanceBlocks:
    """Iterate over blocks of queries: (position of the first query, distances of the block).

    A block is (queries, G) in float32, on the device of the query features; it is overwritten by
    the next one. Smaller is closer, and gallery pictures whose features are equal are equally far.
    Normalised features give minus the cosine; others give Euclid's squared distance, halved, less
    the query's own share (`compute_own_shares`): the same order, a query at a time.
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
        self.queries, self.gallery = query_features.detach(), gallery_features.detach()
        self.normalize = normalize
        self.device = query_features.device
        self.center = None if normalize else choose_center(self.gallery)
        lengths = compute_lengths(self.gallery, center=self.center).to(self.device)
        column = 1 / lengths if normalize else lengths.square() / 2
        self.column = column.float()  # (G,)
        copies, originals = find_copies(self.gallery)
        self.copies, self.originals = copies.to(self.device), originals.to(self.device)
        self.num_block_queries = self._fit_block(memory_limit)

    def compute_own_shares(self) -> Tensor:
        """Return what twice a block lacks to Euclid's squared distances, (Q,), in float64."""
        if self.center is None:
            raise ValueError("own shares: expected features that are not normalised here")
        center = self.center.to(self.device)
        parts = [
            (chunk - center).square().sum(dim=1) + 2 * (chunk - center) @ center
            for chunk in map(Tensor.double, self.queries.split(_rows_of_a_chunk(self.queries)))
        ]
        return torch.cat(parts)

    def _fit_block(self, memory_limit: int) -> int:
        num_gallery, width = self.gallery.shape
        # A picture's lengths in float64 and float32 and a boolean, 25 bytes for who is whom
        # (dcal.metrics.matches), and 32 for what the search for copies leaves on the heap.
        fixed = (13 + 25 + 32) * num_gallery + (0 if self._is_in_place() else CHUNK_BYTES)
        fixed += 20 * len(self.copies)
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
            queries = self.queries[first : first + self.num_block_queries]
            yield first, self._fill(buffer[: len(queries)], queries)

    def _fill(self, block: Tensor, queries: Tensor) -> Tensor:
        if self.center is None:
            queries = queries.float() / compute_lengths(queries)[:, None]
        else:
            queries = queries.double() - self.center.to(self.device)
        self._multiply(-queries.float(), block)
        block = block.mul_(self.column) if self.normalize else block.add_(self.column)
        if len(self.copies):
            for row in block:
                row[self.copies] = row[self.originals]
        return block

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
