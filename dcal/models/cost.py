"""What a model costs by arithmetic: multiply-accumulates and an estimate of memory (ours).

Counted are the products of the linear layers, convolutions of the patch projection, and attention
(Q K^T and A V); element-wise work is not. A training step is counted as three forward passes.
Legend: N tokens, P prefix tokens, D width, R local queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block
from torch import nn

from dcal.models.blocks import get_attention
from dcal.models.dcal import DCAL

if TYPE_CHECKING:
    from dcal.config import TrainConfig

_FROM_LOADER = ("same", "mixed", "noise")  # kinds of distractors that a batch may not hold


class ForwardCost(NamedTuple):
    """Multiply-accumulates of one image, by branch."""

    embedding: int
    sa: int
    glca: int
    pwca: int
    rollout: int


def count_forward_macs(model: DCAL) -> ForwardCost:
    """Count the multiply-accumulates of one image's forward pass.

    With distractors of the same batch (`stream: clean`), whose states SA has computed anyway.
    """
    width, blocks = model.backbone.embed_dim, model.num_blocks
    tokens = model.num_patches + model.num_prefix_tokens
    config = model.config
    hidden = _hidden_width(model)
    whole = _block_macs(tokens, tokens, tokens, width, hidden)
    # In the last block the class token alone has a query; keys and values are of all tokens.
    last = _block_macs(1, tokens, tokens, width, hidden)
    sa = (blocks - 1) * whole + last + width * model.num_classes
    pwca = 0
    if config.pwca_blocks:
        pair_whole = _block_macs(tokens, tokens, 2 * tokens, width, hidden)
        pair_last = _block_macs(1, tokens, 2 * tokens, width, hidden)
        pwca = (config.pwca_blocks - 1) * pair_whole + pair_last + width * model.num_classes
        # The first PWCA block reuses SA's projections, whose inputs are the same.
        is_only = config.pwca_blocks == 1
        shared_rows = 1 if is_only else tokens
        pwca -= shared_rows * width * width + 2 * tokens * width * width
    glca = _count_glca(model, tokens, width, hidden)
    rollout = 0
    if model.rolls_out:
        depth = blocks - config.glca_blocks
        num_heads = get_attention(_first_block(model)).num_heads
        rollout = (depth - 1) * tokens * tokens * (width + num_heads)
        rollout += tokens * width
    return ForwardCost(_count_embedding(model), sa, glca, pwca, rollout)


def estimate_training_bytes(model: DCAL, train: TrainConfig, *, bytes_per_value: int = 4) -> int:
    """Estimate what a training step holds: weights, gradients, moments, average, activations.

    Args:
        model: Its branches decide how many streams run.
        train: Batch size, of which each process has its share, optimiser, averaging and
            checkpointing.
        bytes_per_value: Of an activation: 4, or 2 under bf16.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    copies = 2 + (1 if train.optimizer == "sgd" else 2) + (train.ema_decay is not None)
    values = count_activation_values(model, checkpointing=train.gradient_checkpointing)
    share = train.batch_size // train.processes
    return parameters * 4 * copies + share * values * bytes_per_value


def count_activation_values(model: DCAL, *, checkpointing: bool) -> int:
    """Estimate the values that one image's forward pass keeps for the backward pass.

    A block keeps about 16 values of width D per token (norms, queries, keys, values, attention
    output, FFN before and after its activation), PWCA another 4 for the joined keys and values of
    the pair, and GLCA 5 for the tokens it reads. With checkpointing a block keeps its input, and
    one block at a time is recomputed whole.
    """
    config, width = model.config, model.backbone.embed_dim
    tokens = model.num_patches + model.num_prefix_tokens
    # Distractors from outside the batch take an SA pass of their own.
    sa_streams = 2 if config.pwca_blocks and config.distractor in _FROM_LOADER else 1
    whole_sa, whole_pwca = 16 * sa_streams, 20
    # In the last block little more than keys and values is kept.
    last_sa, last_pwca = 4 * sa_streams, 8
    num_full = model.num_blocks - 1
    num_pwca_full = max(0, config.pwca_blocks - 1)
    per_token = 5 * config.glca_blocks
    if checkpointing:
        per_token += sa_streams * num_full + num_pwca_full + whole_sa
        per_token += whole_pwca if config.pwca_blocks else 0
    else:
        per_token += whole_sa * num_full + last_sa
        per_token += whole_pwca * num_pwca_full + (last_pwca if config.pwca_blocks else 0)
    return tokens * width * per_token + sa_streams * _count_embedding_values(model)


def _block_macs(queries: int, tokens: int, keys: int, width: int, hidden: int) -> int:
    projections = (2 * queries + 2 * tokens) * width * width  # q, output; k, v
    attention = 2 * queries * keys * width
    return projections + attention + 2 * queries * width * hidden


def _count_glca(model: DCAL, tokens: int, width: int, hidden: int) -> int:
    if not model.config.glca_blocks:
        return 0
    rows = {"class": 1, "local": model.num_local_queries}.get(
        model.config.readout, 1 + model.num_local_queries
    )
    blocks = model.config.glca_blocks * _block_macs(rows, tokens, tokens, width, hidden)
    return blocks + width * model.num_classes


def _hidden_width(model: DCAL) -> int:
    return int(cast(nn.Linear, cast(Mlp, _first_block(model).mlp).fc1).out_features)


def _first_block(model: DCAL) -> Block:
    return cast(Block, model.backbone.blocks[0])


def _count_embedding(model: DCAL) -> int:
    """Count the multiply-accumulates of the patch embedding's convolutions."""
    return sum(
        layer.weight[0].numel() * output.numel()
        for layer, output in _run_embedding(model)
        if isinstance(layer, nn.Conv2d)
    )


def _count_embedding_values(model: DCAL) -> int:
    """Count what the layers of the patch embedding put out, the image among it."""
    height, width = model.config.image_size
    return 3 * height * width + sum(output.numel() for _, output in _run_embedding(model))


def _run_embedding(model: DCAL) -> list[tuple[nn.Module, torch.Tensor]]:
    """Return the innermost layers of the patch embedding and their outputs for one empty image."""
    outputs: list[tuple[nn.Module, torch.Tensor]] = []

    def note(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        outputs.append((layer, output))

    embed = model.backbone.patch_embed
    leaves = [layer for layer in embed.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in leaves]
    try:
        with torch.no_grad():
            like = next(embed.parameters())
            embed(like.new_zeros(1, 3, *model.config.image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs
