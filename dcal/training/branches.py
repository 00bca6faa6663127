"""Which branches a model trains and scores, and what each of them predicts (DCAL, inference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dcal.losses.objective import BranchPrediction
from dcal.models.dcal import DCALOutput

if TYPE_CHECKING:
    from dcal.config import ModelConfig


def list_training_branches(config: ModelConfig) -> tuple[str, ...]:
    """Return the branches that have a loss: SA always, GLCA and PWCA where they have blocks."""
    branches = ["sa"]
    if config.glca_blocks:
        branches.append("glca")
    if config.pwca_blocks:
        branches.append("pwca")
    return tuple(branches)


def collect_predictions(
    output: DCALOutput, branches: tuple[str, ...]
) -> dict[str, BranchPrediction]:
    """Return logits and features of the named branches."""
    return {
        branch: BranchPrediction(
            getattr(output, f"{branch}_logits"), getattr(output, f"{branch}_features")
        )
        for branch in branches
    }


def compute_probabilities(output: DCALOutput) -> dict[str, Tensor]:
    """Return class probabilities (B, C) in float32 for `sa`, and with GLCA for `glca` and `both`.

    `both` is the mean of the two branches' probabilities, not of their logits.
    """
    probabilities = {"sa": output.sa_logits.float().softmax(dim=1)}
    if output.glca_logits is not None:
        probabilities["glca"] = output.glca_logits.float().softmax(dim=1)
        stacked = torch.stack((probabilities["sa"], probabilities["glca"]))
        probabilities["both"] = stacked.mean(dim=0)
    return probabilities
