"""Optimiser groups, learning rate and its schedule (DCAL, training settings; warm-up ours)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dcal.losses.objective import Objective
from dcal.models.dcal import DCAL

if TYPE_CHECKING:
    from dcal.config import LossConfig, TrainConfig

DEIT_REFERENCE_BATCH = 512


def compute_base_lr(config: TrainConfig) -> float:
    """Return the peak learning rate: `lr`, or DeiT's lr * pictures of an optimiser step / 512."""
    if config.lr_scaling == "none":
        return config.lr
    return config.lr * config.batch_size * config.accumulate_steps / DEIT_REFERENCE_BATCH


def group_parameters(
    model: DCAL, objective: Objective, config: TrainConfig, loss: LossConfig, *, lr: float
) -> list[dict[str, Any]]:
    """Put every trained parameter in exactly one group: decayed, not decayed, log-variances.

    Biases, norms, and what the model names (class token, positions) are not decayed. The
    log-variances have a learning rate of their own and no decay.
    """
    undecayed_names = model.no_weight_decay()
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_plain = parameter.ndim <= 1 or name in undecayed_names
            (undecayed if is_plain else decayed).append(parameter)
    groups = [
        {"name": "decayed", "params": decayed, "lr": lr, "weight_decay": config.weight_decay},
        {"name": "undecayed", "params": undecayed, "lr": lr, "weight_decay": 0.0},
    ]
    log_variances = list(objective.parameters())
    if log_variances:
        groups.append(
            {
                "name": "log_variances",
                "params": log_variances,
                "lr": loss.log_variance_lr,
                "weight_decay": 0.0,
            }
        )
    return groups


def build_optimizer(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    """Build the optimiser that `train.optimizer` names, fused where every group's device can."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, fused=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, fused=True)
    return torch.optim.AdamW(groups, fused=True)


def build_schedule(
    optimizer: Optimizer, config: TrainConfig, *, num_steps: int, steps_per_epoch: float
) -> LambdaLR:
    """Build the schedule over optimiser steps; the log-variances keep their rate throughout."""
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)

    def scale(step: int) -> float:
        return compute_lr_ratio(step, config, num_steps=num_steps, warmup_steps=warmup_steps)

    scales: list[Callable[[int], float]] = [
        (lambda step: 1.0) if group["name"] == "log_variances" else scale
        for group in optimizer.param_groups
    ]
    return LambdaLR(optimizer, scales)


def compute_lr_ratio(step: int, config: TrainConfig, *, num_steps: int, warmup_steps: int) -> float:
    """Return the share of the peak learning rate at an optimiser step, counted from 0."""
    if step < warmup_steps:
        return config.warmup_lr_ratio + (1 - config.warmup_lr_ratio) * step / warmup_steps
    if config.schedule == "constant":
        return 1.0
    # The last step taken is num_steps - 1; from there on the rate stays at its minimum.
    progress = min(1.0, (step - warmup_steps) / max(1, num_steps - 1 - warmup_steps))
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine
