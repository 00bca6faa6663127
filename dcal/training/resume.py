"""Everything a run needs to go on bit for bit, written while it trains (ours).

Lightning saves and restores weights, optimiser, schedule and loop counters. This adds what it
leaves out: random states, the place inside an epoch, and the moment: between two optimiser steps
or after an epoch, never while gradients are half accumulated.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io import CheckpointIO

from dcal.collectives import broadcast, find_largest, gather_objects, get_rank, is_first
from dcal.data.samplers import EpochSampler
from dcal.training.checkpoints import CheckpointFolder
from dcal.training.finite import FiniteLoss

ShouldStop = Callable[[], str | None]
# A checkpoint waits until it costs at most this share of the time since the last one.
MAX_TIME_SHARE = 0.01
_STOP, _RAISED = 2, 3  # votes; 1 = it is time to save


class TrainingStopped(RuntimeError):
    """The run was asked to stop; the same command goes on from its last checkpoint."""


class PlainCheckpointIO(CheckpointIO):
    """Read a file without running what it holds; `CheckpointFolder.write` makes it whole."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Write tensors, numbers and texts."""
        torch.save(checkpoint, path)

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read onto the CPU; whoever takes a tensor moves it to where its own is."""
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file."""
        Path(path).unlink(missing_ok=True)


class OwnSignals(lightning.Callback):
    """Keep the caller's answer to SIGTERM.

    Lightning's own leaves between any two batches, those of validation too, without a checkpoint
    and with exit status 0, which DVC takes for success.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Put back what was there before Lightning."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


class Checkpointer(lightning.Callback):
    """Save when it is time, at the end, and before leaving on request; restore what was saved.

    It is to be the last callback, so that what it saves holds what the others did at that step.

    With several processes all save and leave at the same step, and the first one writes. When to
    save is the first one's affair; to leave, any may ask, and whatever the first one's question
    raises (a trial that is pruned) ends the others, too.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        sampler: EpochSampler,
        *,
        minutes: float,
        should_stop: ShouldStop,
        finite_loss: FiniteLoss,
    ) -> None:
        self.folder = folder
        self.sampler = sampler
        self.minutes = minutes
        self.should_stop = should_stop
        self.finite_loss = finite_loss
        self._place = {"epoch": 0, "num_batches": 0}
        self._random: dict[str, Any] | None = None
        self._earlier_seconds = 0.0
        self._started = self._last_save = time.perf_counter()
        self.cost_seconds = 0.0  # of the last checkpoint

    @property
    def seconds(self) -> float:
        """Return the time that this and all earlier attempts trained, up to their checkpoints."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the data, the random states and the time."""
        states = gather_objects(collect_random_states())
        return {**self._place, "random": states, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Turn the sampler to the place; random states follow once nothing else draws."""
        self._place = {name: state_dict[name] for name in self._place}
        self._random = state_dict["random"][get_rank()]
        self._earlier_seconds = state_dict["seconds"]
        # Now: loader processes ask for their first batches before the epoch's first hook.
        self.sampler.resume_at(self._place["epoch"], num_batches=self._place["num_batches"])

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Put the random states back where a run goes on."""
        if self._random is not None:
            restore_random_states(self._random)
            self._random = None
        self._last_save = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Save between two optimiser steps; the last one of an epoch is saved with its scores."""
        is_last = batch_idx + 1 >= trainer.num_training_batches
        # Half-accumulated gradients are in no checkpoint.
        if is_last or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._save_if_due(trainer, epoch=trainer.current_epoch, num_batches=batch_idx + 1)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Save after an epoch, always after the last one."""
        epoch = trainer.current_epoch + 1
        self._save_if_due(trainer, epoch=epoch, num_batches=0, always=epoch == trainer.max_epochs)

    def _save_if_due(
        self, trainer: lightning.Trainer, *, epoch: int, num_batches: int, always: bool = False
    ) -> None:
        reason, is_due = self._ask()
        if always or reason or is_due:
            self._place = {"epoch": epoch, "num_batches": num_batches}
            self._save(trainer)
        if reason:
            newest = broadcast(self.folder.describe_newest())
            raise TrainingStopped(
                f"training stopped: {reason}; {newest}, and the same command goes on from there"
            )

    def _ask(self) -> tuple[str | None, bool]:
        """Return why to leave, if any process knows a reason, and whether it is time to save.

        Raises:
            BaseException: What the first process's question raised; of `TrainingStopped` in others.
        """
        raised: BaseException | None = None
        reason: str | None = None
        try:
            reason = self.should_stop()
        except BaseException as error:
            if not is_first():
                raise
            raised = error
        is_due = is_first() and raised is None and self._is_due()
        # One small number a step; what there is to say follows only where there is something.
        vote = find_largest(_RAISED if raised else _STOP if reason else int(is_due))
        if vote < _STOP:
            return None, bool(vote)
        if vote == _RAISED:
            words = broadcast(f"{type(raised).__name__}: {raised}")
            raise raised or TrainingStopped(f"training stopped: {words}")
        return next(filter(None, gather_objects(reason))), True

    def _is_due(self) -> bool:
        if self.minutes == 0:
            return True
        needed = max(60 * self.minutes, self.cost_seconds / MAX_TIME_SHARE)
        return time.perf_counter() - self._last_save >= needed

    def _save(self, trainer: lightning.Trainer) -> None:
        started = time.perf_counter()
        self.finite_loss.check(trainer)
        self.finite_loss.check_weights(trainer)
        with self._write(trainer.global_step) as path:
            trainer.save_checkpoint(path, weights_only=False)
        self._last_save = time.perf_counter()
        self.cost_seconds = self._last_save - started

    def _write(self, step: int) -> AbstractContextManager[Path]:
        # Lightning asks the other processes for a path, too, and writes nothing to it.
        return self.folder.write(step=step) if is_first() else nullcontext(self.folder.path)


def collect_random_states() -> dict[str, Any]:
    """Return the state of every global generator as tensors and plain lists."""
    version, python_words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(python_words), gauss],
        "numpy": {
            "words": numpy_state["state"]["key"].tolist(),
            "position": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Set every global generator; those of GPUs where there are as many as there were."""
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    numpy_state = states["numpy"]
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {
                "key": np.array(numpy_state["words"], dtype=np.uint32),
                "pos": numpy_state["position"],
            },
            "has_gauss": numpy_state["has_gauss"],
            "gauss": numpy_state["gauss"],
        }
    )
