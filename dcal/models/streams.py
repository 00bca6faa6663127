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
    project_queries,
)


class Pairing(NamedTuple):
    """Whose keys and values distract each row of the PWCA stream."""

    indices: Tensor  # (U,) rows of the stream that the distractor's keys come from
    is_mutual: bool  # that stream is PWCA itself, not SA


class Streams(NamedTuple):
    """Tokens of both streams after a block; PWCA is None before its first block."""

    sa: Tensor  # (S, N, D)
    pwca: Tensor | None  # (U, N, D)
    sa_queries_keys: tuple[Tensor, Tensor] | None = None  # of the block just run, detached


def run_block(block: Block, streams: Streams, pairing: Pairing | None) -> Streams:
    """Run one block on SA, and on PWCA if there is a pairing."""
    if pairing is None:
        heads = project_all(block, streams.sa)
        attended = attend_in_block(block, *heads)
        return Streams(finish_block(block, streams.sa, attended), None, _detach(heads))
    sa_rows, pwca_rows = streams.sa.shape[0], pairing.indices.shape[0]
    if streams.pwca is None:
        both = torch.cat((streams.sa, streams.sa[:pwca_rows]))
        sa_heads = project_all(block, streams.sa)
        pwca_heads = sa_heads.rows(slice(pwca_rows))
    else:
        both = torch.cat((streams.sa, streams.pwca))
        heads = project_all(block, both)
        sa_heads, pwca_heads = heads.rows(slice(sa_rows)), heads.rows(slice(sa_rows, None))
    source = pwca_heads if pairing.is_mutual else sa_heads
    attended = torch.cat(
        (attend_in_block(block, *sa_heads), _attend_to_pair(block, pwca_heads, source, pairing))
    )
    finished = finish_block(block, both, attended)
    return Streams(finished[:sa_rows], finished[sa_rows:], _detach(sa_heads))


def run_last_block(
    block: Block, streams: Streams, pairing: Pairing | None, num_images: int
) -> Streams:
    """Run the last block for the class token of each image: (B, 1, D) a stream.

    Rows beyond the images are distractors from outside the batch: only their keys are needed.
    """
    sa_class = streams.sa[:num_images, :1]
    if pairing is None:
        keys, values = project_keys_values(block, streams.sa)
        attended = attend_in_block(block, project_queries(block, sa_class), keys, values)
        return Streams(finish_block(block, sa_class, attended), None)
    sa_rows, pwca_rows = streams.sa.shape[0], pairing.indices.shape[0]
    if streams.pwca is None:
        both_class = torch.cat((sa_class, sa_class))
        sa_queries = pwca_queries = project_queries(block, sa_class)
        keys, values = project_keys_values(block, streams.sa)
        own_rows = slice(pwca_rows)
    else:
        both_class = torch.cat((sa_class, streams.pwca[:num_images, :1]))
        sa_queries, pwca_queries = project_queries(block, both_class).chunk(2)
        keys, values = project_keys_values(block, torch.cat((streams.sa, streams.pwca)))
        own_rows = slice(sa_rows, None)
    sa_heads = Heads(sa_queries, keys[:sa_rows], values[:sa_rows])
    pwca_heads = Heads(pwca_queries, keys[own_rows], values[own_rows])
    source = pwca_heads if pairing.is_mutual else sa_heads
    sa_own = sa_heads.keys_values_of(num_images)
    pwca_own = pwca_heads.keys_values_of(num_images)
    first_pairs = Pairing(pairing.indices[:num_images], pairing.is_mutual)
    attended = torch.cat(
        (attend_in_block(block, *sa_own), _attend_to_pair(block, pwca_own, source, first_pairs))
    )
    finished = finish_block(block, both_class, attended)
    return Streams(finished[:num_images], finished[num_images:])


def _attend_to_pair(block: Block, own: Heads, source: Heads, pairing: Pairing) -> Tensor:
    keys = join_distractor(own.keys, source.keys, pairing.indices)
    values = join_distractor(own.values, source.values, pairing.indices)
    return attend_in_block(block, own.queries, keys, values)


def _detach(heads: Heads) -> tuple[Tensor, Tensor]:
    return heads.queries.detach(), heads.keys.detach()
