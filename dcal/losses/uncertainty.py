"""Learned loss weights: one log-variance a branch (DCAL; Kendall et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn


class UncertaintyWeighting(nn.Module):
    """L = 1/2 sum_i (exp(-w_i) L_i + w_i), with w_i trained along with the network.

    Names: `log_variances` are the paper's w_1 to w_3. The total may be negative, so nothing may be
    selected by it.
    """

    def __init__(self, initial_log_variances: Mapping[str, float]) -> None:
        super().__init__()
        self.log_variances = nn.ParameterDict(
            {
                branch: nn.Parameter(torch.tensor(float(value)))
                for branch, value in initial_log_variances.items()
            }
        )

    def forward(self, losses: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """Combine one loss a branch; every branch must have its weight, and the reverse."""
        assert set(losses) == set(self.log_variances)
        terms = [
            torch.exp(-self.log_variances[branch]) * loss.float() + self.log_variances[branch]
            for branch, loss in losses.items()
        ]
        return torch.stack(terms).sum() / 2
