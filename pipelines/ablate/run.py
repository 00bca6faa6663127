"""Carry a grid out: what is left of it is trained, until the hours are spent (ours)."""

from __future__ import annotations

import hashlib
import logging
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dcal.ablation.arms import Arm, build_arms, extend_arm
from dcal.ablation.epoch_time import measure_epoch_ratio
from dcal.ablation.grid import Grid, GridError, load_grid
from dcal.config import Config, load_config
from dcal.data.datamodule import Loaders, Pictures, open_pictures
from dcal.paths import render_json
from dcal.sentences import to_one_line
from dcal.tracking import Tracker, describe_environment, read_last_words
from dcal.tracking.spool import find_spool
from dcal.training.fit import choose_scored_split
from dcal.training.resume import ShouldStop
from dcal.training.runtime import resolve_runtime
from dcal.tuning.claims import Claims
from dcal.tuning.objective import TrialFailed, is_out_of_memory
from dcal.tuning.storage import Heartbeat
from pipelines.ablate.claims import find_result, open_grid_claims
from pipelines.ablate.scores import collect_curves, score_test_split
from pipelines.ablate.store import (
    Finished,
    find_finished,
    find_ratio,
    keep_finished,
    keep_ratio,
    make_key,
)
from pipelines.run_states import END_STATUS, State, end_run
from pipelines.train import compute_run_fingerprint
from pipelines.trainings import (
    Ground,
    Job,
    Trained,
    Watch,
    build,
    free_checkpoints,
    make_run_key,
    open_job_run,
    train,
)

logger = logging.getLogger(__name__)
OPTIONS = Path("experiments/ablation")
SPENT = "the hours of the grid are spent"


class Cell(NamedTuple):
    """One training of a grid."""

    arm: Arm
    config: Config  # the arm's, with the cell's seed
    fingerprint: str

    @property
    def key(self) -> str:
        """Return what names the training and its scores."""
        return make_key(self.fingerprint, self.config)

    @property
    def name(self) -> str:
        """Return what its run is called."""
        return f"{self.arm.name}, seed {self.config.seed}"


class Ablation(NamedTuple):
    """A grid that is ready to be carried out."""

    name: str
    grid: Grid
    arms: list[Arm]  # the baseline first
    ratios: dict[str, float]  # of epoch times, by arm of `same_time`
    ground: Ground
    claims: Claims  # which process trains what

    @property
    def baseline(self) -> Config:
        """Return the config that arms are compared with."""
        return self.arms[0].config

    def list_cells(self) -> list[Cell]:
        """Return all trainings, seed by seed, so that what is there can always be compared."""
        return [self._make_cell(arm, seed) for seed in self.grid.seeds for arm in self.arms]

    def find(self, cell: Cell) -> Finished | None:
        """Return what a training gave, if it was carried out."""
        return find_finished(cell.key)

    def list_left(self) -> list[Cell]:
        """Return the trainings that have not been carried out."""
        return [cell for cell in self.list_cells() if self.find(cell) is None]

    def _make_cell(self, arm: Arm, seed: int) -> Cell:
        config = arm.config.model_copy(update={"seed": seed})
        digest = self.ground.pictures.report.digest
        return Cell(arm, config, compute_run_fingerprint(config, data_digest=digest))


def open_ablation(
    path: Path, *, should_stop: ShouldStop, helps: bool = False, heartbeat: Heartbeat | None = None
) -> Ablation:
    """Build every arm before the first training, so that a mistake costs nothing.

    Args:
        path: The grid.
        should_stop: Asked between steps.
        helps: Whether another process writes the tables.
        heartbeat: None = that of `dcal.tuning`.

    Raises:
        GridError, ConfigError, ValueError: The grid does not fit params.yaml or the pictures.
        TuningError: Other processes carry it out with something else.
    """
    grid = load_grid(path)
    arms = build_arms(grid, load_config("params.yaml"), OPTIONS)
    baseline = arms[0].config
    pictures = open_pictures(baseline.dataset)
    for arm in arms:
        loaders, _ = build(arm.config, pictures)
        choose_scored_split(arm.config, loaders)
    claims = open_grid_claims(path.stem, grid, arms, pictures, helps=helps, heartbeat=heartbeat)
    ratios = {}
    for name in grid.same_time:
        measure = partial(_find_ratio, baseline, _get(arms, name).config, pictures)
        ratios[name] = claims.share(f"ratio {name}", measure)
    arms += [extend_arm(_get(arms, name), ratio) for name, ratio in ratios.items()]
    fingerprint = compute_run_fingerprint(baseline, data_digest=pictures.report.digest)
    ground = Ground(
        {"dcal.grid": path.stem},
        _make_key(path.stem, fingerprint),
        pictures,
        describe_environment(device=resolve_runtime(baseline.train).device_name),
        _limit(should_stop, grid.hours),
    )
    ablation = Ablation(path.stem, grid, arms, ratios, ground, claims)
    claims.enqueue([cell.key for cell in ablation.list_cells()], find_result)
    return ablation


def settle_runs(ablation: Ablation) -> None:
    """Make good what a process left undone that was killed after the result of a training.

    Its run in MLflow has its true state, and its checkpoints are freed.
    """
    for cell in ablation.list_cells():
        kept = ablation.find(cell)
        run_key = make_run_key(ablation.ground.parent_key, cell.name)
        said = read_last_words(run_key)
        if kept is None or said is None:
            continue  # not trained, or for another grid
        state: State = "failed" if kept.reason else "complete"
        if said[0] != END_STATUS[state] or find_spool(run_key).num_waiting:
            tracker = open_job_run(_make_job(cell), ablation.ground, fingerprint=cell.fingerprint)
            tracker.log_scores(kept.scores)
            end_run(tracker, state, reason=kept.reason)
        free_checkpoints(run_key)


def carry_out(ablation: Ablation, cell: Cell) -> Finished:
    """Train one cell and keep what it gave; a loss that is no number is kept as the reason.

    Raises:
        GridError: Memory ran out.
        KeyboardInterrupt: The user or the hours stopped it; its checkpoints stay.
    """
    if reason := ablation.ground.should_stop():
        raise KeyboardInterrupt(reason)
    kept: list[Finished] = []

    def conclude(trained: Trained) -> dict[str, float]:
        scores = score_test_split(trained, cell.config, ablation.ground.pictures)
        kept.append(_describe(cell, trained, scores))
        keep_finished(cell.key, kept[0])
        return scores

    def watch_only(loaders: Loaders, tracker: Tracker) -> Watch:
        return Watch(tracker.log_metrics, ablation.ground.should_stop)

    try:
        train(_make_job(cell), ablation.ground, watch_only, conclude)
    except TrialFailed as error:
        kept = [_describe_failure(cell, str(error))]
        keep_finished(cell.key, kept[0])
        logger.warning("%s failed: %s", cell.name, error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise GridError(
            f"{cell.name}: memory ran out ({to_one_line(str(error))}); what is done is kept; give "
            "all arms a smaller train.batch_size (base), or leave this one out"
        ) from None
    return kept[0]


def _make_job(cell: Cell) -> Job:
    tags = {"dcal.arm": cell.arm.name, "dcal.seed": str(cell.config.seed)}
    return Job(cell.name, "ablation", cell.config, tags)


def _get(arms: list[Arm], name: str) -> Arm:
    return next(arm for arm in arms if arm.name == name)


def _find_ratio(baseline: Config, other: Config, pictures: Pictures) -> float:
    """Return the ratio of epoch times, measured once for these pictures, models and trainings."""
    sections = {"model", "train", "transforms"}
    parts = [config.model_dump(mode="json", include=sections) for config in (baseline, other)]
    text = render_json([*parts, {"data": pictures.report.digest}])
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    ratio = find_ratio(key)
    if ratio is None:
        ratio = measure_epoch_ratio(baseline, other, build=lambda config: build(config, pictures))
        keep_ratio(key, ratio)
    return ratio


def _make_key(name: str, fingerprint: str) -> str:
    return hashlib.sha256(f"grid {name} {fingerprint}".encode()).hexdigest()[:32]


def _limit(should_stop: ShouldStop, hours: float | None) -> ShouldStop:
    end = None if hours is None else time.monotonic() + 3600 * hours

    def ask() -> str | None:
        reason = should_stop()
        if reason is None and end is not None and time.monotonic() >= end:
            return SPENT
        return reason

    return ask


def _describe(cell: Cell, trained: Trained, scores: dict[str, float]) -> Finished:
    return Finished(
        fingerprint=cell.fingerprint,
        epochs=cell.config.train.epochs,
        steps=trained.num_steps,
        seconds=round(trained.train_seconds, 1),
        selected_epoch=trained.selected_epoch,
        scores=scores,
        curves=collect_curves(trained.history),
    )


def _describe_failure(cell: Cell, reason: str) -> Finished:
    return Finished(
        fingerprint=cell.fingerprint,
        epochs=cell.config.train.epochs,
        steps=0,
        seconds=0.0,
        selected_epoch=0,
        scores={},
        curves=[],
        reason=reason,
    )
