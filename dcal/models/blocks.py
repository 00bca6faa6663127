"""A pre-norm transformer block opened up, so that streams can share its linear layers (ours).

timm's block computes norm, attention, residual, norm, FFN, residual in one go. DCAL needs the
same parameters with other queries, keys and values, so the steps are separate here. Legend:
B images, N tokens, R query rows, D width, h heads, d head width.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn import functional as F

from dcal.attention.core import attend, split_heads


class Heads(NamedTuple):
    """Queries, keys and values, split into heads: each (B, h, N, d)."""

    queries: Tensor
    keys: Tensor
    values: Tensor

    def rows(self, selection: slice) -> Heads:
        """Take some rows of the batch."""
        return Heads(*(part[selection] for part in self))

    def keys_values_of(self, num_images: int) -> Heads:
        """Keep all queries, and the keys and values of the first images."""
        return Heads(self.queries, self.keys[:num_images], self.values[:num_images])


def get_attention(block: Block) -> Attention:
    """Return the block's attention, as the type that `create_backbone` has checked it to be."""
    return cast(Attention, block.attn)


def project_all(block: Block, tokens: Tensor) -> Heads:
    """Return queries, keys and values of all tokens, each (B, h, N, d)."""
    (heads,) = project_parts(block, tokens, [tokens.shape[0]])
    return heads


def project_parts(block: Block, tokens: Tensor, sizes: list[int]) -> list[Heads]:
    """Return queries, keys and values of the parts of a batch, from one product for all.

    Split before the heads are: the gradient of a split is one joined copy, that of slices a
    zero-filled batch a slice.
    """
    attention = get_attention(block)
    projected = attention.qkv(block.norm1(tokens))
    parts = [projected] if len(sizes) == 1 else projected.split(sizes)
    split = [split_heads(part, num_heads=attention.num_heads, num_parts=3) for part in parts]
    return [
        Heads(attention.q_norm(queries), attention.k_norm(keys), values)
        for queries, keys, values in split
    ]


def project_queries(block: Block, rows: Tensor) -> Tensor:
    """Return the queries of some rows (B, R, D) as (B, h, R, d)."""
    attention = get_attention(block)
    weight, bias = _slice_projection(attention, 0, 1)
    projected = F.linear(block.norm1(rows), weight, bias)
    (queries,) = split_heads(projected, num_heads=attention.num_heads, num_parts=1)
    return attention.q_norm(queries)


def project_keys_values(block: Block, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values of all tokens, each (B, h, N, d), without their queries."""
    attention = get_attention(block)
    weight, bias = _slice_projection(attention, 1, 3)
    projected = F.linear(block.norm1(tokens), weight, bias)
    keys, values = split_heads(projected, num_heads=attention.num_heads, num_parts=2)
    return attention.k_norm(keys), values


def project_queries_keys(block: Block, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys of all tokens, each (B, h, N, d), without their values."""
    attention = get_attention(block)
    weight, bias = _slice_projection(attention, 0, 2)
    projected = F.linear(block.norm1(tokens), weight, bias)
    queries, keys = split_heads(projected, num_heads=attention.num_heads, num_parts=2)
    return attention.q_norm(queries), attention.k_norm(keys)


def attend_in_block(block: Block, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Run the block's attention on given heads: (B, R, h * d), before the output projection."""
    attention = get_attention(block)
    dropout = attention.attn_drop.p if attention.training else 0.0
    return attend(queries, keys, values, scale=attention.scale, dropout=dropout)


def finish_block(block: Block, tokens: Tensor, attended: Tensor) -> Tensor:
    """Project what attention gave, add the residual, and run the FFN: (B, R, D)."""
    attention = get_attention(block)
    projected = attention.proj_drop(attention.proj(attention.norm(attended)))
    tokens = tokens + block.drop_path1(block.ls1(projected))
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))


def _slice_projection(attention: Attention, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
    width = attention.attn_dim
    rows = slice(start * width, stop * width)
    bias = attention.qkv.bias
    return attention.qkv.weight[rows], None if bias is None else bias[rows]
