"""SA and PWCA side by side through one block of shared parameters (DCAL, PWCA).

The economies are exact: both streams pass every linear layer as one batch; where their inputs
are still equal they share one projection; in the last block only the class token's query is
computed, because nothing else is read. Legend: S rows of SA, U rows of PWCA, B images, N tokens,
D width, h heads, d head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor

from dcal.attention.core import join_distractor
from dcal.models.blocks import (
    Heads,
    attend_in_block,
    finish_block,
    project_all,
    project_keys_values,
    project_parts,
    project_queries,
)


class Pairing(NamedTuple):
    """Whose keys and values distract each row of the PWCA stream."""

    indices: Tensor  # (U,) rows of the stream that the distractor's keys come from
    is_mutual: bool  # that stream is PWCA itself, not SA


class Streams(NamedTuple):
    """Tokens of both streams after a block, kept as the one batch that they are computed as."""

    tokens: Tensor  # (S + U, N, D), SA's rows first; U = 0 before PWCA's first block
    num_sa: int  # S
    sa_queries_keys: tuple[Tensor, Tensor] | None = None  # of the block just run, detached

    @property
    def sa(self) -> Tensor:
        """Return the rows of SA: (S, N, D)."""
        return self.tokens[: self.num_sa]

    @property
    def pwca(self) -> Tensor | None:
        """Return the rows of PWCA: (U, N, D); None before its first block."""
        return self.tokens[self.num_sa :] if self.tokens.shape[0] > self.num_sa else None


def run_block(block: Block, streams: Streams, pairing: Pairing | None) -> Streams:
    """Run one block on SA, and on PWCA if there is a pairing."""
    tokens, num_sa = streams.tokens, streams.num_sa
    if pairing is None:
        heads = project_all(block, tokens)
        attended = attend_in_block(block, *heads)
        return Streams(finish_block(block, tokens, attended), num_sa, _detach(heads))
    num_pwca = len(pairing.indices)
    if streams.pwca is None:
        sa_heads = project_all(block, tokens)
        pwca_heads = sa_heads.rows(slice(num_pwca))
        tokens = torch.cat((tokens, tokens[:num_pwca]))
    else:
        sa_heads, pwca_heads = project_parts(block, tokens, [num_sa, num_pwca])
    source = pwca_heads if pairing.is_mutual else sa_heads
    attended = torch.cat(
        (attend_in_block(block, *sa_heads), _attend_to_pair(block, pwca_heads, source, pairing))
    )
    return Streams(finish_block(block, tokens, attended), num_sa, _detach(sa_heads))


def run_last_block(
    block: Block, streams: Streams, pairing: Pairing | None, num_images: int
) -> Streams:
    """Run the last block for the class token of each image: (B, 1, D) a stream.

    Rows beyond the images are distractors from outside the batch: only their keys are needed.
    """
    tokens, num_sa = streams.tokens, streams.num_sa
    sa_class = tokens[:num_images, :1]
    keys, values = project_keys_values(block, tokens)
    if pairing is None:
        attended = attend_in_block(block, project_queries(block, sa_class), keys, values)
        return Streams(finish_block(block, sa_class, attended), num_images)
    num_pwca = len(pairing.indices)
    if streams.pwca is None:
        both_class = torch.cat((sa_class, sa_class))
        sa_queries = pwca_queries = project_queries(block, sa_class)
        sa_heads = Heads(sa_queries, keys, values)
        pwca_heads = sa_heads.rows(slice(num_pwca))
    else:
        both_class = torch.cat((sa_class, tokens[num_sa : num_sa + num_images, :1]))
        sa_queries, pwca_queries = project_queries(block, both_class).split(num_images)
        sa_keys, pwca_keys = keys.split([num_sa, num_pwca])
        sa_values, pwca_values = values.split([num_sa, num_pwca])
        sa_heads = Heads(sa_queries, sa_keys, sa_values)
        pwca_heads = Heads(pwca_queries, pwca_keys, pwca_values)
    source = pwca_heads if pairing.is_mutual else sa_heads
    sa_own = sa_heads.keys_values_of(num_images)
    pwca_own = pwca_heads.keys_values_of(num_images)
    first_pairs = Pairing(pairing.indices[:num_images], pairing.is_mutual)
    attended = torch.cat(
        (attend_in_block(block, *sa_own), _attend_to_pair(block, pwca_own, source, first_pairs))
    )
    return Streams(finish_block(block, both_class, attended), num_images)


def _attend_to_pair(block: Block, own: Heads, source: Heads, pairing: Pairing) -> Tensor:
    keys = join_distractor(own.keys, source.keys, pairing.indices)
    values = join_distractor(own.values, source.values, pairing.indices)
    return attend_in_block(block, own.queries, keys, values)


def _detach(heads: Heads) -> tuple[Tensor, Tensor]:
    return heads.queries.detach(), heads.keys.detach()
