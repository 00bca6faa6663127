"""The training objective: a loss a branch, combined (DCAL, losses).

Over the branches that are on: `uncertainty` learns their weights, `fixed` sums them with given
ones; with one branch on it is that branch's plain loss, without a weight.

With several processes cross-entropy is of a process's share of the batch, and triplets are mined
in the whole batch; the mean of the losses over the processes, which DDP's gradients are of, is that
of one process with the whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcal.collectives import gather_rows
from dcal.losses.triplet import compute_batch_hard_triplet
from dcal.losses.uncertainty import UncertaintyWeighting

if TYPE_CHECKING:
    from dcal.config import LossConfig


class BranchPrediction(NamedTuple):
    """What the objective reads of one branch."""

    logits: Tensor  # (B, C)
    features: Tensor  # (B, D), before the head


class ObjectiveOutput(NamedTuple):
    """The total to minimise, and what it is made of."""

    total: Tensor
    branch_losses: dict[str, Tensor]


class Objective(nn.Module):
    """Cross-entropy per branch, for Re-ID with a triplet loss beside it, and their weighting."""

    def __init__(self, config: LossConfig, *, branches: tuple[str, ...]) -> None:
        super().__init__()
        self.config = config
        self.branches = branches
        self.fixed_weights = {branch: getattr(config.fixed_weights, branch) for branch in branches}
        self.weighting: UncertaintyWeighting | None = None
        if config.weighting == "uncertainty" and len(branches) > 1:
            initial = config.initial_log_variances
            self.weighting = UncertaintyWeighting(
                {branch: getattr(initial, branch) for branch in branches}
            )

    def forward(self, predictions: dict[str, BranchPrediction], labels: Tensor) -> ObjectiveOutput:
        """Return the total and each branch's own loss; PWCA has the target of its image."""
        losses = {
            branch: self._compute_branch_loss(predictions[branch], labels)
            for branch in self.branches
        }
        return ObjectiveOutput(self._combine(losses), losses)

    def get_log_variances(self) -> dict[str, Tensor]:
        """Return the learned w_i by branch; empty where nothing is learned."""
        if self.weighting is None:
            return {}
        return {branch: value.detach() for branch, value in self.weighting.log_variances.items()}

    def _compute_branch_loss(self, prediction: BranchPrediction, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(
            prediction.logits.float(), labels, label_smoothing=self.config.label_smoothing
        )
        if self.config.triplet == "none":
            return loss
        margin = self.config.triplet_margin if self.config.triplet == "margin" else None
        features, identities = gather_rows(prediction.features), gather_rows(labels)
        return loss + compute_batch_hard_triplet(features, identities, margin=margin)

    def _combine(self, losses: dict[str, Tensor]) -> Tensor:
        if len(losses) == 1:
            return next(iter(losses.values()))
        if self.weighting is not None:
            total: Tensor = self.weighting(losses)
            return total
        weighted = [self.fixed_weights[branch] * loss for branch, loss in losses.items()]
        return torch.stack(weighted).sum()
