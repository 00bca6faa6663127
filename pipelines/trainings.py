"""One training of a study or a grid: its checkpoints, its run in MLflow, its scores (ours).

What it trains is what stage train would, with the same fingerprint; nothing of results/train and
runs/train is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd
import torch

from dcal.config import Config
from dcal.data.datamodule import Loaders, Pictures, build_loaders
from dcal.mistakes import is_mistake
from dcal.models import build_model
from dcal.models.backbone import get_normalisation
from dcal.models.cost import count_forward_macs
from dcal.models.dcal import DCAL
from dcal.sentences import to_one_line
from dcal.tracking import Environment, Tracker, start_run
from dcal.training.callbacks import LogMetrics
from dcal.training.checkpoints import CheckpointFolder, checkpoints_root, list_folders
from dcal.training.finite import TrainingBroken
from dcal.training.fit import Outlets, TrainingResult, fit
from dcal.training.resume import ShouldStop, TrainingStopped
from dcal.training.run_state import RunState
from dcal.training.runtime import resolve_runtime
from dcal.tuning.objective import (
    TrialFailed,
    TrialPruned,
    UpdateFinishedTrialError,
    is_out_of_memory,
)
from dcal.tuning.settings import COST_KEY
from pipelines.run_states import State, end_run
from pipelines.train import compute_run_fingerprint


class Ground(NamedTuple):
    """What all trainings of a study or a grid share."""

    tags: dict[str, str]  # of each run in MLflow
    parent_key: str  # of the run in MLflow that theirs lie below
    pictures: Pictures
    environment: Environment
    should_stop: ShouldStop  # asked between steps; a text is the reason


class Job(NamedTuple):
    """One training."""

    name: str  # unique below the parent run, such as `trial 7`
    kind: str  # the tag dcal.kind: trial, final or ablation
    config: Config
    tags: dict[str, str] = {}


class Watch(NamedTuple):
    """Who is told each point, and who may end the training."""

    log_metrics: LogMetrics
    should_stop: ShouldStop


class Trained(NamedTuple):
    """A training that came to its end."""

    model: DCAL  # of the chosen epoch
    loaders: Loaders
    scores: dict[str, float]  # of that epoch, and the cost of inference
    history: pd.DataFrame  # what results/train/history.csv would be
    num_steps: int
    train_seconds: float
    selected_epoch: int  # counted from 0


# Given what was trained, returns further scores; what it keeps outlives the checkpoints.
Conclude = Callable[[Trained], dict[str, float]]
# Given the loaders and the tracker of the run; the steps of an epoch follow from the loaders.
MakeWatch = Callable[[Loaders, Tracker], Watch]


def make_run_key(parent_key: str, job_name: str) -> str:
    """Return what names a training towards MLflow, whichever process carries it out."""
    return hashlib.sha256(f"{parent_key}/{job_name}".encode()).hexdigest()[:32]


def find_folder(fingerprint: str, run_key: str) -> CheckpointFolder:
    """Return the checkpoints of a training; those of stage train have no dash in their name."""
    return CheckpointFolder(checkpoints_root() / f"{fingerprint}-{run_key[:8]}")


def free_checkpoints(run_key: str) -> None:
    """Remove what a training left that has ended, unless another process is at it."""
    for folder in list_folders():
        if folder.path.name.endswith(f"-{run_key[:8]}") and not folder.is_held():
            folder.remove_files()


def train(
    job: Job, ground: Ground, make_watch: MakeWatch, conclude: Conclude = lambda trained: {}
) -> dict[str, float]:
    """Train or go on, and return the scores of the epoch that `train.selection` chooses.

    `conclude` adds scores of its own; where it fails the training counts as not done.

    Checkpoints are freed unless the training may go on: after an interrupt, or a mistake of the
    user, after which the same trial is tried again.

    Raises:
        TrialFailed: The loss or a weight is no number.
        KeyboardInterrupt: `ground.should_stop` or the watch gave a reason.
    """
    run_key = make_run_key(ground.parent_key, job.name)
    fingerprint = compute_run_fingerprint(job.config, data_digest=ground.pictures.report.digest)
    folder = find_folder(fingerprint, run_key)
    with folder.hold():
        try:
            with _track(job, ground, fingerprint=fingerprint, folder=folder) as tracker:
                _open_state(folder, run_key, ground)
                trained = _fit(job.config, ground, folder, tracker, make_watch)
                concluded = conclude(trained)
                tracker.log_scores({**_name_scores(trained.scores), **concluded})
        except BaseException as error:
            if not _may_go_on(error):
                folder.remove_files()
            raise
        folder.remove_files()
    return {**trained.scores, **concluded}


def build(config: Config, pictures: Pictures) -> tuple[Loaders, DCAL]:
    """Build what stage train would.

    Raises:
        ValueError: `train.processes` is more than one.
    """
    if config.train.processes > 1:
        raise ValueError(
            "train.processes: expected 1, because the trainings of a study or a grid run in one "
            f"process each; got {config.train.processes}. Set it to 1, and start more workers"
        )
    mean, std = get_normalisation(config.model.backbone)
    loaders = build_loaders(pictures, config, mean=mean, std=std)
    torch.manual_seed(config.seed)  # of the new heads
    sides = pictures.list_sides()
    model = build_model(
        config.model,
        num_classes=len(pictures.report.class_names),
        num_cameras=len(sides.cameras),
        num_views=len(sides.views),
    )
    return loaders, model


def count_inference_gmacs(model: DCAL) -> float:
    """Return the billions of multiply-accumulates of one picture without PWCA."""
    cost = count_forward_macs(model)
    return (cost.embedding + cost.sa + cost.glca + cost.rollout) / 1e9


def _fit(
    config: Config,
    ground: Ground,
    folder: CheckpointFolder,
    tracker: Tracker,
    make_watch: MakeWatch,
) -> Trained:
    loaders, model = build(config, ground.pictures)
    gmacs = count_inference_gmacs(model)
    watch = make_watch(loaders, tracker)
    history = folder.path / "history.csv"
    outlets = Outlets(history, watch.log_metrics, folder, watch.should_stop)
    try:
        result = fit(model, config, loaders, runtime=resolve_runtime(config.train), outlets=outlets)
    except TrainingBroken as error:
        raise TrialFailed(str(error).partition(";")[0]) from None
    except (TrainingStopped, SystemExit) as error:  # Lightning makes the latter of a second Ctrl-C
        raise KeyboardInterrupt(str(error)) from None
    table = pd.read_csv(history)  # the epochs before an interruption are in it, too
    scores = {**_read_scores(table, result), COST_KEY: gmacs}
    return Trained(
        result.model,
        loaders,
        scores,
        table,
        num_steps=result.num_steps,
        train_seconds=result.train_seconds,
        selected_epoch=result.selected_epoch,
    )


def _read_scores(table: pd.DataFrame, result: TrainingResult) -> dict[str, float]:
    chosen = table[table["epoch"] == result.selected_epoch]
    keys = [str(key) for key in chosen if str(key) in result.scores]
    return {key: float(chosen[key].dropna().iloc[-1]) for key in keys}


def _name_scores(scores: dict[str, float]) -> dict[str, float]:
    # Beside the curves, which end with the last epoch and not with the chosen one.
    return {key if key == COST_KEY else f"selected/{key}": value for key, value in scores.items()}


def _open_state(folder: CheckpointFolder, run_key: str, ground: Ground) -> None:
    if folder.read_state() is None:
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        folder.write_state(RunState(run_key=run_key, started=started))
    folder.open_run(ground.environment.list_numeric(), is_recorded=lambda state: False)


@contextmanager
def _track(
    job: Job, ground: Ground, *, fingerprint: str, folder: CheckpointFolder
) -> Iterator[Tracker]:
    """Open the run in MLflow, or go on with it, and end it in its true state."""
    tracker = open_job_run(job, ground, fingerprint=fingerprint)
    tracker.set_tags({"dcal.checkpoints": folder.place})
    try:
        yield tracker
    except BaseException as error:
        # What follows the semicolon is advice, and names a folder of this machine.
        reason = to_one_line(str(error).partition(";")[0])
        end_run(tracker, _name_state(error), reason=reason)
        raise
    end_run(tracker, "complete")


def open_job_run(job: Job, ground: Ground, *, fingerprint: str) -> Tracker:
    """Return the tracker of a job's run below the parent's."""
    tracker = start_run(
        job.config,
        environment=ground.environment,
        fingerprint=fingerprint,
        data_digest=ground.pictures.report.digest,
        run_key=make_run_key(ground.parent_key, job.name),
        started=datetime.now(UTC),  # of the first attempt, whose journal says when
        kind=job.kind,
        label=job.name,
        parent_key=ground.parent_key,
    )
    tracker.set_tags({**ground.tags, **job.tags})
    return tracker


def _name_state(error: BaseException) -> State:
    if isinstance(error, TrialPruned) or is_out_of_memory(error):
        return "pruned"
    # The last one: another worker took this one for dead, and goes on with its trial.
    if isinstance(error, (KeyboardInterrupt, UpdateFinishedTrialError)):
        return "interrupted"
    return "failed"


def _may_go_on(error: BaseException) -> bool:
    is_ours = is_mistake(error) and not is_out_of_memory(error)
    return _name_state(error) == "interrupted" or is_ours
