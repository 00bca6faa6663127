"""Attention rollout: how much each patch reached the class token (DCAL, GLCA).

Only the class row of the rollout is ever read, so a row vector walks down from the newest block
to the first; no product of two token-by-token matrices is formed, and of attention little is in
memory: one head's of each image, or on a CPU 8 MiB, which fit in the cache. Walking by a fused
attention's log-sum-exp with queries and keys exchanged gives the same row and is slower on a CPU
(`python -m benchmarks.rollout`). Legend: B images, h heads, N tokens, d head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

QueriesAndKeys = tuple[Tensor, Tensor]

TILE_BYTES = 8 * 2**20  # of attention at once on a CPU; 4 to 16 MiB differ by a few per cent


@contextmanager
def tiling_by(num_bytes: int) -> Iterator[None]:
    """Take tiles of another size for a while: where steps are counted, few are enough."""
    global TILE_BYTES
    usual, TILE_BYTES = TILE_BYTES, num_bytes
    try:
        yield
    finally:
        TILE_BYTES = usual


@torch.no_grad()
def compute_class_row(
    blocks: Sequence[Callable[[], QueriesAndKeys]], *, scale: float
) -> Float[Tensor, "batch tokens"]:
    """Return the class token's row of Sbar_n ... Sbar_1, with Sbar_l = (S_l + I) / 2.

    S_l is the mean over heads of block l's attention. The row sums to 1 and is float32 whatever
    the inputs are; gradients never flow through it.

    Args:
        blocks: For each block, first block first, a function that gives its queries and keys,
            each (B, h, N, d). They are called newest first, so a caller may recompute them.
        scale: What attention multiplies its products with, usually d ** -0.5.

    Raises:
        ValueError: No block was given.

    Source: Abnar and Zuidema 2020; the row-vector form is ours.
    """
    if not blocks:
        raise ValueError("rollout: expected at least one block's attention; got none")
    queries, keys = blocks[-1]()
    with torch.autocast(queries.device.type, enabled=False):
        row = torch.zeros(queries.shape[0], queries.shape[2], device=queries.device)
        row[:, 0] = 1.0
        # The top row is a unit vector, so of the top block only the class token's query counts.
        row = (row + compute_class_attention(queries, keys, scale=scale)) / 2
        for block in reversed(blocks[:-1]):
            row = (row + _push_row(row, *block(), scale)) / 2
    return row


@torch.no_grad()
def compute_class_attention(
    queries: Float[Tensor, "batch heads tokens width"],
    keys: Float[Tensor, "batch heads tokens width"],
    *,
    scale: float,
) -> Float[Tensor, "batch tokens"]:
    """Return the class token's row of one block's attention, the mean over heads, in float32."""
    products = torch.einsum("bhd,bhnd->bhn", queries[:, :, 0].float(), keys.float())
    return (products * scale).softmax(dim=-1).mean(dim=1)  # (B, N)


def _push_row(row: Tensor, queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Multiply a row vector (B, N) with the head-averaged attention."""
    # A compiler and a GPU want few large steps, a CPU's cache small ones.
    is_traced = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    if queries.device.type == "cpu" and not is_traced:
        return _push_row_in_tiles(row, queries, keys, scale)
    return _push_row_by_head(row, queries, keys, scale)


def _push_row_by_head(row: Tensor, queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    pushed = torch.zeros_like(row)
    num_heads = queries.shape[1]
    for head in range(num_heads):
        scaled = queries[:, head].float() * scale
        attention = (scaled @ keys[:, head].float().transpose(1, 2)).softmax(dim=-1)  # (B, N, N)
        pushed += (row[:, None] @ attention)[:, 0]
    return pushed / num_heads


def _push_row_in_tiles(row: Tensor, queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Do the same by tiles of some images' heads and, where one is too large, some of its rows."""
    batch, num_heads, tokens, width = queries.shape
    num_pairs = batch * num_heads
    queries = queries.float().reshape(num_pairs, tokens, width)
    keys = keys.float().reshape(num_pairs, tokens, width).transpose(1, 2)
    weights = row[:, None].expand(-1, num_heads, -1).reshape(num_pairs, 1, tokens)
    pushed = torch.zeros_like(weights)
    tile_pairs, tile_rows = _choose_tile(num_pairs, tokens)
    buffer = weights.new_empty(tile_pairs * tile_rows * tokens)
    for first in range(0, num_pairs, tile_pairs):
        pairs = slice(first, min(first + tile_pairs, num_pairs))
        for start in range(0, tokens, tile_rows):
            rows = slice(start, min(start + tile_rows, tokens))
            shape = (pairs.stop - pairs.start, rows.stop - rows.start, tokens)
            tile = buffer[: math.prod(shape)].view(shape)
            # With beta = 0 what lies in the buffer is not read.
            torch.baddbmm(tile, queries[pairs, rows], keys[pairs], beta=0, alpha=scale, out=tile)
            torch.softmax(tile, dim=-1, out=tile)
            pushed[pairs] += torch.bmm(weights[pairs, :, rows], tile)
    return pushed.view(batch, num_heads, tokens).mean(dim=1)


def _choose_tile(num_pairs: int, tokens: int) -> tuple[int, int]:
    """Return how many heads of images, and how many rows of each, are in memory at once."""
    num_threads = torch.get_num_threads()  # each takes a head
    tile_rows = min(tokens, max(1, TILE_BYTES // (4 * tokens * num_threads)))
    rounds = max(1, TILE_BYTES // (4 * tokens * tile_rows * num_threads))
    return min(num_pairs, rounds * num_threads), tile_rows


@torch.no_grad()
def compute_full_rollout(
    attention_weights: Sequence[Float[Tensor, "batch heads tokens tokens"]],
) -> Float[Tensor, "batch tokens tokens"]:
    """Multiply out the whole rollout matrix, newest block on the left.

    The slow, obvious form: for tests and for looking at rows other than the class token's.

    Raises:
        ValueError: No block was given.

    Source: Abnar and Zuidema 2020; DCAL, GLCA.
    """
    if not attention_weights:
        raise ValueError("rollout: expected at least one block's attention; got none")
    identity = torch.eye(attention_weights[0].shape[-1], device=attention_weights[0].device)
    product = identity.to(attention_weights[0].dtype)
    for weights in attention_weights:
        mixed = (weights.mean(dim=1) + identity) / 2
        product = mixed @ product
    return product
