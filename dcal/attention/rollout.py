"""Attention rollout: how much each patch reached the class token (DCAL, GLCA).

Only the class row of the rollout is ever read, so a row vector walks down from the newest block
to the first; no product of two token-by-token matrices is formed, and one head's attention at a
time is in memory. Legend: B images, h heads, N tokens, d head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

QueriesAndKeys = tuple[Tensor, Tensor]


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
        row = (row + _top_row(queries, keys, scale)) / 2
        for block in reversed(blocks[:-1]):
            row = (row + _push_row(row, *block(), scale)) / 2
    return row


def _top_row(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    products = torch.einsum("bhd,bhnd->bhn", queries[:, :, 0].float(), keys.float())
    return (products * scale).softmax(dim=-1).mean(dim=1)  # (B, N)


def _push_row(row: Tensor, queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Multiply a row vector (B, N) with the head-averaged attention, one head at a time."""
    pushed = torch.zeros_like(row)
    num_heads = queries.shape[1]
    for head in range(num_heads):
        scaled = queries[:, head].float() * scale
        attention = (scaled @ keys[:, head].float().transpose(1, 2)).softmax(dim=-1)  # (B, N, N)
        pushed += (row[:, None] @ attention)[:, 0]
    return pushed / num_heads


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
