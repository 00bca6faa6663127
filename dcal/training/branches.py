"""Which branches a model trains and scores, and what each of them predicts (DCAL, inference)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

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


def choose_sides(
    batch: Mapping[str, Tensor], config: ModelConfig, *, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Return the batch's cameras and views where the model takes side information.

    A batch of pictures without an index has none: they are then not known.
    """
    names = {} if config.side_information == "none" else {"cameras": "camera", "views": "view"}
    return {
        name: batch[column].to(device) if device else batch[column]
        for name, column in names.items()
        if column in batch
    }


def collect_features(output: DCALOutput) -> dict[str, Tensor]:
    """Return features (B, D) in float32 for `sa`, and with GLCA for `glca` and `both`.

    They are those before the BN neck; `both` is [SA class token ; GLCA read-out] (B, 2D).
    """
    features = {"sa": output.sa_features.float()}
    if output.glca_features is not None:
        features["glca"] = output.glca_features.float()
        features["both"] = torch.cat((features["sa"], features["glca"]), dim=1)
    return features


def compute_embeddings(output: DCALOutput) -> dict[str, Tensor]:
    """Return the features divided by their length, each as a whole."""
    features = collect_features(output)
    return {branch: F.normalize(values, dim=1) for branch, values in features.items()}


def choose_score_name(kind: str) -> str:
    """Return the score that chooses an epoch of a data set of this kind."""
    return "mean_ap" if kind == "reid" else "top1_accuracy"


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
