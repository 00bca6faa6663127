"""The training step as Lightning runs it (DCAL, training settings)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import lightning
import pandas as pd
import torch
from torch import Tensor

from dcal.attention.pairing import draw_pairing
from dcal.collectives import gather_objects, get_rank, is_distributed
from dcal.losses.objective import Objective
from dcal.models.dcal import DCAL
from dcal.training.averaging import MovingAverage
from dcal.training.branches import (
    choose_sides,
    collect_predictions,
    compute_embeddings,
    compute_probabilities,
    list_training_branches,
)
from dcal.training.meters import DealtMeans, RunningMeans
from dcal.training.optimization import (
    build_optimizer,
    build_schedule,
    compute_base_lr,
    group_parameters,
)
from dcal.training.retrieval import RetrievalMeter

if TYPE_CHECKING:
    from dcal.config import Config


class DCALModule(lightning.LightningModule):
    """A model with its objective: one step, one validation batch, one optimiser.

    `means` holds what the steps since the last logged point gave; callbacks read it. `table` is
    the index, which Re-ID scores are taken from.
    """

    def __init__(self, model: DCAL, config: Config, *, table: pd.DataFrame | None = None) -> None:
        super().__init__()
        self.config = config
        self.network = model
        self.branches = list_training_branches(config.model)
        self.objective = Objective(config.loss, branches=self.branches)
        self.means = RunningMeans()
        self._scores = DealtMeans() if is_distributed() else RunningMeans()
        self._retrieval = None
        if config.dataset.kind == "reid" and table is not None:
            self._retrieval = RetrievalMeter(table)
        self.last_scores: dict[str, float] = {}  # by branch, of the last scored split
        decay = config.train.ema_decay
        self.averaged = None if decay is None else MovingAverage(model, decay=decay)
        self.network.set_grad_checkpointing(config.train.gradient_checkpointing)

    @property
    def scored_network(self) -> DCAL:
        """Return the network that is scored and saved: the average where there is one."""
        return self.network if self.averaged is None else self.averaged.module  # type: ignore[return-value]

    def training_step(self, batch: Mapping[str, Tensor], batch_index: int) -> Tensor:
        """Return the total loss of one batch."""
        sides = choose_sides(batch, self.config.model)
        output = self.network(batch["image"], **sides, **_choose_distractors(batch))
        predictions = collect_predictions(output, self.branches)
        result = self.objective(predictions, batch["label"])
        self._note(result.total, result.branch_losses, predictions, batch["label"])
        total: Tensor = result.total
        return total

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Pair the images of a training batch while their labels are still on the host."""
        has_pairs = self.config.model.pwca_blocks and "distractor_image" not in batch
        if not (has_pairs and self.trainer.training):
            return batch
        labels = batch["label"]
        pairing = draw_pairing(
            len(labels),
            seed=self.config.seed,
            step=self._count_batches(),
            labels=labels if self.config.model.distractor == "other" else None,
            rank=get_rank(),
        )
        return {**batch, "distractor_index": pairing}

    def _count_batches(self) -> int:
        """Return the number of batches before the one that is about to be transferred."""
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.total.ready)

    def _note(
        self,
        total: Tensor,
        branch_losses: Mapping[str, Tensor],
        predictions: Mapping[str, Any],
        labels: Tensor,
    ) -> None:
        self.means.add("train/loss", total)
        for branch, loss in branch_losses.items():
            self.means.add(f"train/{branch}/loss", loss)
            is_right = predictions[branch].logits.argmax(dim=1) == labels
            self.means.add(f"train/{branch}/top1_accuracy", is_right.float().mean())

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, and move the average with it: once a step, not once an accumulated batch."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what each process counted since the last logged point, and the last scores."""
        checkpoint["means"] = gather_objects(self.means.state_dict())
        checkpoint["last_scores"] = dict(self.last_scores)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        self.means.load_state_dict(checkpoint["means"][get_rank()])
        self.last_scores = checkpoint["last_scores"]

    def validation_step(self, batch: Mapping[str, Tensor], batch_index: int) -> None:
        """Count right answers of each branch; for Re-ID, collect what is ranked at the end."""
        if not batch:  # there are fewer batches than processes left
            return
        output = self.scored_network(batch["image"], **choose_sides(batch, self.config.model))
        if self._retrieval is not None:
            self._retrieval.add(batch["row"], compute_embeddings(output))
            return
        labels = batch["label"]
        probabilities = compute_probabilities(output)
        for branch, values in probabilities.items():
            is_right = (values.argmax(dim=1) == labels).float()
            self._scores.add(f"{branch}/top1_accuracy", is_right.mean(), weight=len(labels))
            chosen = values.gather(1, labels[:, None])[:, 0]
            loss = -chosen.clamp(min=1e-12).log().mean()
            self._scores.add(f"{branch}/loss", loss, weight=len(labels))

    def on_validation_epoch_end(self) -> None:
        """Read the scores of the split that was just run."""
        source = self._scores if self._retrieval is None else self._retrieval
        self.last_scores = source.pop()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the network's gradients; the log-variances are not part of that norm."""
        if self.config.train.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.train.clip_norm)

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule over the steps of the whole run."""
        config = self.config.train
        lr = compute_base_lr(config)
        groups = group_parameters(self.network, self.objective, config, self.config.loss, lr=lr)
        optimizer = build_optimizer(groups, config)
        num_steps = int(self.trainer.estimated_stepping_batches)
        schedule = build_schedule(
            optimizer, config, num_steps=num_steps, steps_per_epoch=num_steps / config.epochs
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _choose_distractors(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if "distractor_image" in batch:
        return {"distractor_images": batch["distractor_image"]}
    if "distractor_index" in batch:
        return {"distractor_indices": batch["distractor_index"]}
    return {}
