"""What a model costs by arithmetic: multiply-accumulates and an estimate of memory (ours).

Counted are the products of the linear layers, convolutions of the patch projection, and attention
(Q K^T and A V); element-wise work is not. A training step is counted as three forward passes.
Legend: N tokens, P prefix tokens, D width, R local queries.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block
from torch import nn

from dcal.models.blocks import get_attention
from dcal.models.dcal import DCAL


class ForwardCost(NamedTuple):
    """Multiply-accumulates of one image, by branch."""

    embedding: int
    sa: int
    glca: int
    pwca: int
    rollout: int


def count_forward_macs(model: DCAL) -> ForwardCost:
    """Count the multiply-accumulates that one image's forward pass needs at the least."""
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
    if model.selects_patches:
        depth = blocks - config.glca_blocks
        num_heads = get_attention(_first_block(model)).num_heads
        rollout = (depth - 1) * tokens * tokens * (width + num_heads)
        rollout += tokens * width
    return ForwardCost(_count_embedding(model), sa, glca, pwca, rollout)


def estimate_training_bytes(model: DCAL, batch_size: int, *, bytes_per_value: int = 4) -> int:
    """Estimate what a training step holds: weights, gradients, Adam's moments and activations.

    Activations: about 16 values of width D per token and block (norms, qkv, attention output,
    FFN before and after its activation, residuals), for SA and for the PWCA blocks.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens = model.num_patches + model.num_prefix_tokens
    streams = model.num_blocks + model.config.pwca_blocks + model.config.glca_blocks
    values_per_token = 16 * model.backbone.embed_dim
    activations = batch_size * tokens * values_per_token * streams * bytes_per_value
    if model.config.pwca_blocks:
        # Keys and values of the pair are joined in a copy of their own.
        pair = 4 * model.backbone.embed_dim * model.config.pwca_blocks
        activations += batch_size * tokens * pair * bytes_per_value
    return parameters * 4 * 4 + activations


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
    """Count the convolutions of the patch embedding by running shapes through them."""
    total = 0

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        per_output = layer.weight[0].numel()
        total += per_output * output[0].numel()

    embed = model.backbone.patch_embed
    hooks = [m.register_forward_hook(count) for m in embed.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.no_grad():
            weight = next(embed.parameters())
            embed(
                torch.zeros(
                    1, 3, *model.config.image_size, device=weight.device, dtype=weight.dtype
                )
            )
    finally:
        for hook in hooks:
            hook.remove()
    return total
