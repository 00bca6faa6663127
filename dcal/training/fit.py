"""A whole training run: trainer, schedule, selection of the weights (DCAL, training settings)."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import lightning
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dcal.collectives import broadcast, get_rank, is_first
from dcal.data.datamodule import Loader, Loaders
from dcal.data.samplers import EpochSampler
from dcal.models.build import count_parameters
from dcal.models.cost import estimate_training_bytes
from dcal.models.dcal import DCAL
from dcal.training.branches import choose_score_name
from dcal.training.callbacks import BestWeights, EpochReport, History, LogMetrics
from dcal.training.checkpoints import CHECKPOINTS, CheckpointFolder
from dcal.training.finite import FiniteLoss
from dcal.training.module import DCALModule
from dcal.training.processes import choose_devices, choose_seed
from dcal.training.resume import (
    Checkpointer,
    OwnSignals,
    PlainCheckpointIO,
    ShouldStop,
    TrainingStopped,
)
from dcal.training.retrieval import count_scorable
from dcal.training.runtime import LIGHTNING_PRECISION, Runtime, name_kernel, prepare_runtime

if TYPE_CHECKING:
    from dcal.config import Config

logger = logging.getLogger(__name__)


class TrainingResult(NamedTuple):
    """The chosen weights and how the run went."""

    model: DCAL
    weights: str  # ema or raw
    selected_epoch: int  # counted from 0
    selection_score: float | None  # None where the last epoch is taken unseen
    scores: dict[str, float]  # of the scored split at the last epoch
    num_steps: int
    train_seconds: float


class Outlets(NamedTuple):
    """What a run tells the world, where it keeps its state, and who may stop it."""

    history_path: Path
    log_metrics: LogMetrics
    checkpoints: CheckpointFolder | None = None  # None: an interrupted run is lost
    should_stop: ShouldStop = lambda: None  # asked between steps; a text is the reason to stop


def fit(
    model: DCAL, config: Config, loaders: Loaders, *, runtime: Runtime, outlets: Outlets
) -> TrainingResult:
    """Train a model as `config.train` says and return it with the selected weights.

    Every random number of the model (stochastic depth, dropout) follows from `config.seed`; two
    runs on a CPU are bit-identical, and so is one that was interrupted and goes on from the newest
    checkpoint in `outlets.checkpoints`.

    With several processes each calls this, with loaders of its share; all return the same. The
    first one writes, and the others' outlets are only asked whether to stop.

    Raises:
        ValueError: The selection needs a split that is not there.
        TrainingBroken: A loss or weight is no number.
        TrainingStopped: `outlets.should_stop` gave a reason.
    """
    scored_split, scored_loader = choose_scored_split(config, loaders)
    prepare_runtime(runtime, spares_memory=config.train.gradient_checkpointing)
    seed = choose_seed(config.seed, get_rank())
    lightning.seed_everything(seed, workers=True, verbose=False)
    module = DCALModule(model, config, table=loaders.table)
    if runtime.is_compiled:
        model.compile()
    observers = _build_observers(config, loaders, outlets, scored_split=scored_split)
    started = time.perf_counter()
    with warnings.catch_warnings():
        _silence_lightning()
        trainer = _build_trainer(config, runtime, observers.list_callbacks())
        try:
            trainer.fit(
                module,
                loaders.train,
                scored_loader,
                ckpt_path=_find_resume_path(outlets.checkpoints),
                weights_only=True,
            )
        except SIGTERMException:  # got before `OwnSignals` was there
            raise TrainingStopped("training stopped: got SIGTERM before the first step") from None
    observers.history.write()
    best, checkpointer = observers.best, observers.checkpointer
    if best is not None:
        best.restore(module)
    return TrainingResult(
        model=module.scored_network.eval(),
        weights="raw" if module.averaged is None else "ema",
        selected_epoch=best.best_epoch if best else config.train.epochs - 1,
        selection_score=best.best_score if best else None,
        scores={f"{scored_split}/{key}": value for key, value in module.last_scores.items()},
        num_steps=trainer.global_step,
        train_seconds=checkpointer.seconds if checkpointer else time.perf_counter() - started,
    )


class _Observers(NamedTuple):
    """The callbacks of a run."""

    history: History
    report: EpochReport
    finite_loss: FiniteLoss
    best: BestWeights | None
    checkpointer: Checkpointer | None

    def list_callbacks(self) -> list[lightning.Callback]:
        # A broken loss is noticed before it is logged; the checkpoint holds what all others did.
        last = [callback for callback in (self.best, self.checkpointer) if callback is not None]
        return [OwnSignals(), self.finite_loss, self.report, self.history, *last]


def _build_observers(
    config: Config, loaders: Loaders, outlets: Outlets, *, scored_split: str
) -> _Observers:
    train, folder = config.train, outlets.checkpoints
    finite_loss = FiniteLoss(
        check_every=train.log_every,
        describe_newest=folder.describe_newest if folder else lambda: "no checkpoint was kept",
    )
    history = History(
        outlets.history_path,
        log_every=train.log_every,
        log_metrics=outlets.log_metrics,
        scored_split=scored_split,
    )
    checkpointer = None
    if folder is not None:
        checkpointer = Checkpointer(
            folder,
            cast(EpochSampler, loaders.train.batch_sampler),
            minutes=train.checkpoint_minutes,
            should_stop=outlets.should_stop,
            finite_loss=finite_loss,
        )
    score_name = choose_score_name(config.dataset.kind)
    best = BestWeights(score_name) if train.selection != "last" else None
    return _Observers(history, EpochReport(score_name), finite_loss, best, checkpointer)


def _find_resume_path(folder: CheckpointFolder | None) -> Path | None:
    newest = broadcast(folder.find_newest() if folder and is_first() else None)
    if newest is None:
        return None
    if not newest.path.is_file():
        raise FileNotFoundError(
            f"{CHECKPOINTS}/{newest.path.parent.name}/{newest.path.name}: process {get_rank()} "
            "does not see it; let all machines work in one shared folder (DCAL_WORK_ROOT)"
        )
    logger.info("going on from step %d (%s)", newest.step, newest.path.name)
    return newest.path


def choose_scored_split(config: Config, loaders: Loaders) -> tuple[str, Loader | None]:
    """Return the split scored after each epoch: test only where it was asked for."""
    _require_scorable(config, loaders)
    if config.train.selection == "test":
        return "test", loaders.test
    if config.train.selection == "val" and loaders.val is None:
        raise ValueError(
            "train.selection=val: this data set holds no val split; set dataset.val_ratio above 0 "
            "and run the prepare stage, or take train.selection=last"
        )
    return "val", loaders.val


def _require_scorable(config: Config, loaders: Loaders) -> None:
    """Refuse a choice of the epoch by a split that ranks nothing."""
    split = config.train.selection
    if config.dataset.kind != "reid" or split == "last" or (split == "val" and not loaders.val):
        return
    chosen = ["val"] if split == "val" else ["query", "gallery"]
    if not count_scorable(loaders.table.loc[loaders.table["split"].isin(chosen)]):
        raise ValueError(
            f"train.selection={split}: no picture of that split has a match to be found (its "
            "identity under another camera), so no epoch can be chosen by it; take "
            "train.selection=last, or hold out more identities (dataset.val_ratio)"
        )


def warn_of_accumulation(config: Config) -> None:
    """Say what of Re-ID is not as it would be in a batch of the size that steps are of."""
    train, size = config.train, config.train.batch_size
    parts = ["triplets are mined"] if config.loss.triplet != "none" else []
    parts += ["the BN neck normalises"] if config.model.neck == "bnneck" else []
    if train.accumulate_steps > 1 and parts:
        logger.warning(
            "train.accumulate_steps=%d: gradients are of %d pictures, but %s inside each batch of "
            "%d; more processes keep the whole batch together, accumulation does not",
            train.accumulate_steps,
            size * train.accumulate_steps,
            " and ".join(parts),
            size,
        )


def describe_run(model: DCAL, config: Config, loaders: Loaders, runtime: Runtime) -> str:
    """Say in a few lines what will run: data, model, steps, device, estimated memory."""
    train = config.train
    steps = -(-len(loaders.train) // train.accumulate_steps)
    height, width = config.model.image_size
    branches = ["SA"]
    if config.model.glca_blocks:
        readout = config.model.readout
        share = f", top_r {config.model.top_r}" if model.selects_patches else ""
        branches.append(f"GLCA x{config.model.glca_blocks} ({readout}{share})")
    if config.model.pwca_blocks:
        branches.append(f"PWCA x{config.model.pwca_blocks}")
    bytes_per_value = 2 if runtime.precision == "bf16" else 4
    memory = estimate_training_bytes(model, train, bytes_per_value=bytes_per_value)
    num_train = len(loaders.train.dataset)  # type: ignore[arg-type]
    return "\n".join(
        (
            f"data    {config.dataset.name}: {num_train} pictures to train on, "
            f"{model.num_classes} classes, {height} x {width} pixels",
            f"model   {config.model.backbone} ({config.model.weights}): {' + '.join(branches)}, "
            f"{count_parameters(model) / 1e6:.2f} M parameters",
            f"run     {train.epochs} epochs of {steps} steps, batch {train.batch_size}"
            f"{f' x {train.accumulate_steps}' if train.accumulate_steps > 1 else ''}"
            f"{f' in {train.processes} processes' if train.processes > 1 else ''}, "
            f"seed {config.seed}, selection {train.selection}",
            f"device  {runtime.device_name}, {runtime.precision}"
            f"{', compiled' if runtime.is_compiled else ''}, {runtime.num_threads} threads, "
            f"{name_kernel(model, runtime)} attention; about {memory / 2**30:.2f} GiB for a step",
        )
    )


def _build_trainer(
    config: Config, runtime: Runtime, callbacks: list[lightning.Callback]
) -> lightning.Trainer:
    train = config.train
    # In a file, a bar would be a line for each of its states; the epochs' lines are enough there.
    is_terminal = sys.stderr.isatty() and is_first()
    return lightning.Trainer(
        accelerator=runtime.accelerator,
        **choose_devices(runtime.accelerator),
        precision=LIGHTNING_PRECISION[runtime.precision],
        max_epochs=train.epochs,
        accumulate_grad_batches=train.accumulate_steps,
        callbacks=callbacks + ([TQDMProgressBar(leave=False)] if is_terminal else []),
        enable_progress_bar=is_terminal,
        logger=False,
        enable_checkpointing=False,  # that is Lightning's own callback
        plugins=[PlainCheckpointIO()],
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=train.log_every,
    )


def _silence_lightning() -> None:
    """Hide what the user has chosen (loader processes, no val split) or cannot change."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*The number of training batches.*")
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Of DDP, about a convolution of 1 x 1, whose strides say nothing.
    warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view.*")
    # The sampler goes on where it was, which Lightning looks for in the loader.
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
