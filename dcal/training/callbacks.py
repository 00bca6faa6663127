"""What happens beside the steps: the history, the tracker, and the choice of weights (ours)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from torch import Tensor

from dcal.collectives import is_first
from dcal.paths import write_atomically
from dcal.training.module import DCALModule

SCORE_HEADINGS = {"top1_accuracy": "top-1", "mean_ap": "mAP"}
LogMetrics = Callable[[dict[str, float], int], None]


class History(lightning.Callback):
    """Collect every logged point, hand it to the tracker, and keep history.csv up to date.

    Steps are optimiser steps. The file is a wide table, a row a logged step, and is rewritten
    whole at the end of each epoch. With several processes only the first one tells and writes.
    """

    def __init__(
        self,
        path: Path,
        *,
        log_every: int,
        log_metrics: LogMetrics,
        scored_split: str = "val",
    ) -> None:
        self.path = path
        self.log_every = log_every
        self.log_metrics = log_metrics
        self.scored_split = scored_split
        self.rows: dict[int, dict[str, float]] = {}
        self._images_since = 0
        self._time_since = 0.0
        self._lr = 0.0
        self._logged_step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the points so far."""
        return {"rows": self.rows, "logged_step": self._logged_step, "lr": self._lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after these points."""
        self.rows = {int(step): dict(row) for step, row in state_dict["rows"].items()}
        self._logged_step, self._lr = state_dict["logged_step"], state_dict["lr"]

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start the clock of a run that goes on inside an epoch."""
        self._images_since, self._time_since = 0, time.perf_counter()

    def on_before_optimizer_step(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Note the rate this step takes; by the end of the batch the schedule has moved on."""
        self._lr = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start the clock: validation and saving are not training speed."""
        self._images_since, self._time_since = 0, time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: dict[str, Tensor],
        batch_idx: int,
    ) -> None:
        """Log a point every `log_every` optimiser steps: the means over all batches since."""
        self._images_since += len(batch["label"])
        if trainer.global_step - self._logged_step >= self.log_every:
            self._log_training(trainer, pl_module)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Log what is left of the epoch, and write the file."""
        self._log_training(trainer, pl_module)
        self.write()

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Log the scores of the split that selects, or is only watched."""
        assert isinstance(pl_module, DCALModule)
        scores = {f"{self.scored_split}/{key}": v for key, v in pl_module.last_scores.items()}
        self._log(scores, trainer)

    def write(self) -> None:
        """Write all points so far to the file, atomically."""
        if not is_first():
            return
        table = pd.DataFrame.from_dict(self.rows, orient="index").rename_axis("step")
        with write_atomically(self.path) as temporary:
            table.sort_index().to_csv(temporary)

    def _log_training(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, DCALModule)
        values = module.means.pop()
        if not values:
            return
        values["train/lr"] = self._lr
        for branch, value in module.objective.get_log_variances().items():
            values[f"train/log_variance/{branch}"] = float(value)
        self._logged_step = trainer.global_step
        now = time.perf_counter()
        if self._images_since and now > self._time_since:
            speed = self._images_since * trainer.world_size / (now - self._time_since)
            values["train/images_per_second"] = speed
        self._images_since, self._time_since = 0, now
        self._log(values, trainer)

    def _log(self, values: dict[str, float], trainer: lightning.Trainer) -> None:
        step = trainer.global_step
        row = self.rows.setdefault(step, {"epoch": float(trainer.current_epoch)})
        row.update(values)
        if is_first():
            self.log_metrics(values, step)


class EpochReport(lightning.Callback):
    """Say after each epoch how it went and how long the rest will take."""

    def __init__(self, score_name: str = "top1_accuracy") -> None:
        self.score_name = score_name

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start the clock."""
        self._started, self._first_epoch = time.perf_counter(), trainer.current_epoch

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Print one line, with the scores of the split that is watched."""
        assert isinstance(pl_module, DCALModule)
        done = trainer.current_epoch + 1
        elapsed = time.perf_counter() - self._started
        left = elapsed / (done - self._first_epoch) * (int(trainer.max_epochs or done) - done)
        scores = "".join(
            f"  {key.split('/')[0]} {value:.3f}"
            for key, value in pl_module.last_scores.items()
            if key.endswith(f"/{self.score_name}")
        )
        heading = f"  {SCORE_HEADINGS[self.score_name]}" if scores else ""
        trainer.print(
            f"epoch {done}/{trainer.max_epochs}{heading}{scores}"
            f"  {format_seconds(elapsed)} gone, {format_seconds(left)} left"
        )


def format_seconds(seconds: float) -> str:
    """Write a duration as minutes and seconds, or hours and minutes."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


class BestWeights(lightning.Callback):
    """Keep the weights of the epoch with the best score; the earliest of equal ones.

    The score (top-1 accuracy, or mean AP for Re-ID) is that of `both`, or of `sa` where there is
    no other branch. The total loss selects nothing: learned log-variances may make it negative.
    """

    def __init__(self, score_name: str = "top1_accuracy") -> None:
        self.score_name = score_name
        self.best_score = -1.0
        self.best_epoch = -1
        self.state: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights so far and where they are from."""
        return {"score": self.best_score, "epoch": self.best_epoch, "weights": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best of before."""
        self.best_score, self.best_epoch = state_dict["score"], state_dict["epoch"]
        self.state = state_dict["weights"]

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Copy the weights if they are the best so far."""
        assert isinstance(pl_module, DCALModule)
        scores = pl_module.last_scores
        score = scores.get(f"both/{self.score_name}", scores[f"sa/{self.score_name}"])
        if score > self.best_score:
            self.best_score, self.best_epoch = score, trainer.current_epoch
            state = pl_module.scored_network.state_dict()
            self.state = {name: value.detach().cpu().clone() for name, value in state.items()}

    def restore(self, module: DCALModule) -> None:
        """Put the kept weights back into the scored network."""
        with torch.no_grad():
            module.scored_network.load_state_dict(self.state)
