"""A run whose numbers broke stops where they broke, and keeps what was good (ours)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor

from dcal.collectives import agree, broadcast, find_largest


class TrainingBroken(RuntimeError):
    """The run cannot go on as it is configured; its checkpoints are kept."""


class FiniteLoss(lightning.Callback):
    """Stop at the first step whose loss is no number; looking never waits for the device.

    With several processes it is the first step of any, and all stop.
    """

    def __init__(self, *, check_every: int, describe_newest: Callable[[], str]) -> None:
        self.check_every = check_every
        self.describe_newest = describe_newest
        self._first_bad: Tensor | None = None  # step, counted from 1; 0 = none
        self._checked_step = 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Note a bad loss on the device, and read the note now and then."""
        loss = outputs["loss"].detach()
        if self._first_bad is None:
            self._first_bad = torch.zeros((), dtype=torch.int64, device=loss.device)
        is_first = ~torch.isfinite(loss) & (self._first_bad == 0)
        self._first_bad = torch.where(is_first, max(trainer.global_step, 1), self._first_bad)
        if trainer.global_step - self._checked_step >= self.check_every:
            self.check(trainer)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Read the note before the epoch's scores are believed."""
        self.check(trainer)

    def check(self, trainer: lightning.Trainer) -> None:
        """Read the note.

        Raises:
            TrainingBroken: There was a loss that is no number.
        """
        self._checked_step = trainer.global_step
        mine = int(self._first_bad) if self._first_bad is not None else 0
        steps_ago = find_largest(trainer.global_step + 2 - mine if mine else 0)
        if steps_ago:
            first_bad = trainer.global_step + 2 - steps_ago
            newest = broadcast(self.describe_newest())
            raise_not_finite("the loss", first_bad, trainer.current_epoch, newest)

    def check_weights(self, trainer: lightning.Trainer) -> None:
        """Look at the weights, which infinite gradients of a finite loss may have spoilt.

        Raises:
            TrainingBroken: A weight is no number.
        """
        tensors = trainer.lightning_module.state_dict().values()
        checks = [tensor.isfinite().all() for tensor in tensors if tensor.is_floating_point()]
        if agree(not bool(torch.stack(checks).all())):
            newest = broadcast(self.describe_newest())
            raise_not_finite("a weight", trainer.global_step, trainer.current_epoch, newest)


def raise_not_finite(what: str, step: int, epoch: int, newest: str) -> None:
    """Say where a run broke and what can be done.

    Raises:
        TrainingBroken: Always.
    """
    raise TrainingBroken(
        f"training stopped: {what} became infinite or no number at step {step} (epoch "
        f"{epoch + 1}); {newest}. Lower train.lr, set or lower train.clip_norm, or try "
        "train.precision=fp32"
    )
