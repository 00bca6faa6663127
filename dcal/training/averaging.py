"""The moving average of the weights (ours)."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """torch's average without its waits: it asks the device in each step whether it has begun."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        super().__init__(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.requires_grad_(False)
        self._has_begun = False

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Copy the first weights, move towards the next; buffers are those of the model."""
        if not self._has_begun:
            super().update_parameters(model)
            self._has_begun = True
            return
        average = self.multi_avg_fn
        assert average is not None
        average(list(self.module.parameters()), list(model.parameters()), self.n_averaged)
        for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
        self.n_averaged += 1
