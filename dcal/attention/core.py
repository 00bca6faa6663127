"""Self, pair-wise and global-local attention as pure functions on split heads.

DCAL: self-attention, GLCA and PWCA. Legend: B images, h heads,
N tokens, R query rows, d head width, D = h * d.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def split_heads(
    projected: Float[Tensor, "batch tokens channels"], *, num_heads: int, num_parts: int
) -> tuple[Tensor, ...]:
    """Split a joint projection into its parts (such as q, k, v), each (B, h, N, d)."""
    parts = rearrange(projected, "b n (parts h d) -> parts b h n d", parts=num_parts, h=num_heads)
    return parts.unbind(0)


def attend(
    queries: Float[Tensor, "batch heads rows width"],
    keys: Float[Tensor, "batch heads tokens width"],
    values: Float[Tensor, "batch heads tokens width"],
    *,
    scale: float,
    dropout: float = 0.0,
) -> Float[Tensor, "batch rows channels"]:
    """Compute softmax(scale * Q K^T) V with the heads joined again.

    Queries need not be all tokens: attention rows are independent of each other, so a row that
    nobody reads is not worth computing. This serves self-attention and GLCA alike.
    """
    outputs = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, scale=scale)
    return rearrange(outputs, "b h n d -> b n (h d)")


def join_distractor(
    own: Float[Tensor, "batch heads tokens width"],
    source: Float[Tensor, "source heads tokens width"],
    distractor_indices: Tensor,
) -> Float[Tensor, "batch heads pair_tokens width"]:
    """Append to each image's keys (or values) those of its distractor: (B, h, 2N, d).

    One softmax over the result is PWCA: K_c = [K_1; K_2], V_c = [V_1; V_2].
    """
    # index_select: its gradient adds whole images, that of indexing single elements.
    return torch.cat((own, source.index_select(0, distractor_indices)), dim=2)
