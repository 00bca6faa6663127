"""Stage train: fine-tune the branches together, write the model and its record."""

from __future__ import annotations

import os

# Idle OpenMP threads that spin starve the loader; torch reads this once, when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from rich.console import Console

import dcal
from dcal.collectives import get_rank, get_world_size, is_first
from dcal.config import Config, load_config
from dcal.data.datamodule import Loaders, Pictures, build_loaders, open_pictures
from dcal.models import build_model, count_parameters
from dcal.models.backbone import get_normalisation
from dcal.models.build import locate_weights
from dcal.models.dcal import DCAL
from dcal.models.weights import save_model
from dcal.paths import (
    compute_code_digest,
    compute_file_digest,
    compute_fingerprint,
    write_json,
)
from dcal.tracking.environment import Environment, describe_environment
from dcal.tracking.models import describe_model_file
from dcal.tracking.record import DatasetRecord, RunRecord, write_run_record
from dcal.tracking.runs import start_run
from dcal.tracking.tracker import Tracker
from dcal.training.checkpoints import CheckpointFolder, checkpoints_root
from dcal.training.fit import (
    Outlets,
    TrainingResult,
    describe_run,
    fit,
    warn_of_accumulation,
)
from dcal.training.resume import TrainingStopped
from dcal.training.retention import free_finished
from dcal.training.run_state import RunState
from dcal.training.runtime import Runtime, resolve_runtime
from pipelines.guard import watch_for_reasons_to_stop
from pipelines.inputs import Inputs, read_inputs, require_unchanged
from pipelines.processes import require_one_run, run_in_processes, tell_others_warnings
from pipelines.stage import collect_warnings

logger = logging.getLogger(__name__)

MODEL_PATH = Path("runs/train/model.safetensors")
RESULTS = Path("results/train")
RECORD = RESULTS / "run.json"
SECTIONS = ("seed", "dataset", "transforms", "model", "loss", "train")
# What cannot change a weight. Of the data set, the index's digest says all that matters.
WITHOUT_EFFECT: dict[str, Any] = {
    "dataset": True,
    "train": {"workers", "log_every", "checkpoint_minutes"},
}
CODE = (
    "attention",
    "collectives.py",
    # What reads an index and its pictures. What made the index is in the digest of its rows.
    "data/cached.py",
    "data/datamodule.py",
    "data/dataset.py",
    "data/identities.py",
    "data/images.py",
    "data/index.py",
    "data/partial.py",
    "data/raw.py",
    "data/samplers.py",
    "data/seeds.py",
    "data/transforms.py",
    "losses",
    # What scores Re-ID, and so chooses the epoch.
    "metrics/copies.py",
    "metrics/distances.py",
    "metrics/matches.py",
    "metrics/positions.py",
    "metrics/ranking.py",
    "metrics/reranking.py",
    "models",
    "training",
)
EDITED = (
    "the finished run is kept: undo the edit, and dvc repro records it without training again; or "
    "keep the edit, and dvc repro trains with it"
)


class Run(NamedTuple):
    """What is trained, on what, and where."""

    config: Config
    pictures: Pictures
    loaders: Loaders
    model: DCAL
    runtime: Runtime
    environment: Environment
    fingerprint: str
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]  # mean, standard deviation


def main() -> None:
    """Read params.yaml and the index, train, and write runs/train and results/train."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    inputs = read_inputs("train")
    with collect_warnings() as warnings, watch_for_reasons_to_stop() as should_stop:
        run = prepare_run()
        require_one_run(run.fingerprint, run.environment.list_numeric())
        tell_others_warnings(warnings)
        folder = CheckpointFolder(checkpoints_root() / run.fingerprint)
        if not is_first():
            train_along(run, folder, should_stop=should_stop, warnings=warnings)
            return
        with folder.hold():
            free_finished()
            conditions = run.environment.list_numeric()
            state = folder.open_run(conditions, is_recorded=is_recorded_by_dvc)
            train(run, folder, state, inputs, should_stop=should_stop, warnings=warnings)
    report_warnings(warnings)


def prepare_run() -> Run:
    """Build what params.yaml says, and say what will run."""
    config = load_config("params.yaml")
    pictures = open_pictures(config.dataset)
    runtime = resolve_runtime(config.train)
    for fallback in (*pictures.report.warnings, *runtime.fallbacks):
        logger.warning("%s", fallback)
    mean, std = get_normalisation(config.model.backbone)
    loaders = build_loaders(
        pictures, config, mean=mean, std=std, rank=get_rank(), world_size=get_world_size()
    )
    torch.manual_seed(config.seed)  # of the new heads
    sides = pictures.list_sides()
    model = build_model(
        config.model,
        num_classes=len(pictures.report.class_names),
        num_cameras=len(sides.cameras),
        num_views=len(sides.views),
    )
    check_rollout_depth(config, model.num_blocks)
    if config.train.selection == "test":
        logger.warning("the weights are selected on the test split: its scores are optimistic")
    warn_of_accumulation(config)
    lines = describe_run(model, config, loaders, runtime)
    if is_first():
        Console(soft_wrap=True).print(lines, highlight=False, markup=False)
    fingerprint = compute_run_fingerprint(config, data_digest=pictures.report.digest)
    environment = describe_environment(device=runtime.device_name)
    return Run(config, pictures, loaders, model, runtime, environment, fingerprint, (mean, std))


def train(
    run: Run,
    folder: CheckpointFolder,
    state: RunState,
    inputs: Inputs,
    *,
    should_stop: Callable[[], str | None],
    warnings: list[str],
) -> None:
    """Train or go on, and write the results; a result of edited inputs is not written."""
    with track(run, state) as tracker:
        result = fit(
            run.model,
            run.config,
            run.loaders,
            runtime=run.runtime,
            outlets=Outlets(RESULTS / "history.csv", tracker.log_metrics, folder, should_stop),
        )
        tell_others_warnings(warnings)
        require_unchanged("train", inputs, hint=EDITED)
        save_model(MODEL_PATH, result.model, build_card(run, result))
        tracker.set_tags(describe_model_file(MODEL_PATH))
        write_json(RESULTS / "metrics.json", collect_metrics(result))
    # After the run is closed, because the server may tell its id only now.
    record = build_record(run, state, result, tracker, warnings=warnings)
    write_run_record(RECORD, record)
    folder.finish(record=RECORD)


def train_along(
    run: Run,
    folder: CheckpointFolder,
    *,
    should_stop: Callable[[], str | None],
    warnings: list[str],
) -> None:
    """Be one of several processes beside the first, which alone writes and tells."""
    outlets = Outlets(RESULTS / "history.csv", lambda values, step: None, folder, should_stop)
    fit(run.model, run.config, run.loaders, runtime=run.runtime, outlets=outlets)
    tell_others_warnings(warnings)


@contextmanager
def track(run: Run, state: RunState) -> Iterator[Tracker]:
    """Open the run in MLflow, or go on with it, and close it as it ended."""
    tracker = start_run(
        run.config,
        environment=run.environment,
        fingerprint=run.fingerprint,
        data_digest=run.pictures.report.digest,
        run_key=state.run_key,
        started=datetime.fromisoformat(state.started),
    )
    try:
        tracker.log_file("params.yaml", "config")
        yield tracker
    except (TrainingStopped, KeyboardInterrupt, SystemExit):
        tracker.end("KILLED")
        raise
    except BaseException:
        tracker.end("FAILED")
        raise
    tracker.end()


def is_recorded_by_dvc(state: RunState) -> bool:
    """Say whether dvc.lock holds this run's record: then DVC has its result."""
    lock = Path("dvc.lock")
    if not lock.is_file():
        return False
    content = yaml.safe_load(lock.read_text(encoding="utf-8")) or {}
    outs = content.get("stages", {}).get("train", {}).get("outs", [])
    return any(out["path"] == str(RECORD) and out.get("md5") == state.record_md5 for out in outs)


def compute_run_fingerprint(config: Config, *, data_digest: str) -> str:
    """Return what tells this run from any with other parameters, data, code or starting weights."""
    package = Path(dcal.__file__).parent
    params = config.model_dump(mode="json", include=set(SECTIONS), exclude=WITHOUT_EFFECT)
    weights = locate_weights(config.model.weights)
    params["weights_sha256"] = None if weights is None else compute_file_digest(weights)
    return compute_fingerprint(
        params,
        data_digest=data_digest,
        code_digest=compute_code_digest([*(package / name for name in CODE), Path(__file__)]),
    )


def check_rollout_depth(config: Config, num_blocks: int) -> None:
    """Refuse a depth that the rollout stage could not draw, before hours of training."""
    depth = config.rollout.num_blocks
    if depth is not None and depth > num_blocks:
        raise ValueError(
            f"rollout.num_blocks: expected 1 to {num_blocks}, the blocks of "
            f"{config.model.backbone}, or null for all; got {depth}"
        )


def build_card(run: Run, result: TrainingResult) -> dict[str, Any]:
    """Collect what a reader of the model file needs to use it."""
    mean, std = run.normalisation
    report = run.pictures.report
    return {
        "config": run.config.model_dump(mode="json"),
        "class_names": report.class_names,
        "sides": {name: list(known) for name, known in run.pictures.list_sides()._asdict().items()},
        "preprocessing": {"mean": list(mean), "std": list(std)},
        "weights": result.weights,
        "selection": run.config.train.selection,
        "selected_epoch": result.selected_epoch,
        "dataset": {"name": run.config.dataset.name, "digest": report.digest},
        "fingerprint": run.fingerprint,
    }


def build_record(
    run: Run, state: RunState, result: TrainingResult, tracker: Tracker, *, warnings: list[str]
) -> RunRecord:
    """Collect what outlives the run beside its metrics."""
    return RunRecord(
        **run.environment.model_dump(),
        run_key=tracker.run_key,
        run_id=tracker.run_id,
        tracking_uri=describe_uri(tracker.run_key),
        fingerprint=run.fingerprint,
        seed=run.config.seed,
        dataset=DatasetRecord(name=run.config.dataset.name, digest=run.pictures.report.digest),
        model={
            "backbone": run.config.model.backbone,
            "parameters": count_parameters(run.model),
        },
        warnings=warnings,
        started=datetime.fromisoformat(state.started).isoformat(timespec="seconds"),
        seconds=result.train_seconds,
        resumed_from=[attempt.from_step for attempt in state.attempts[1:]],
    )


def collect_metrics(result: TrainingResult) -> dict[str, float | int | None]:
    """Return what `dvc metrics` shows of training: scores of the last epoch, and the choice."""
    return {
        **result.scores,
        "selected_epoch": result.selected_epoch,
        "selection_score": result.selection_score,
        "steps": result.num_steps,
        "train_seconds": round(result.train_seconds, 1),
    }


def report_warnings(warnings: list[str]) -> None:
    """Say once more, at the end, what the reader of the results has to know."""
    if warnings:
        heading = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
        logger.info("%s, also in %s:", heading, RECORD)
        for warning in warnings:
            logger.info("  - %s", warning)


def describe_uri(run_key: str | None) -> str:
    """Return where the run was tracked, without credentials."""
    if run_key is None:
        return "not tracked"
    from dcal.tracking.store import describe_tracking_uri

    return describe_tracking_uri()


if __name__ == "__main__":
    run_in_processes(main, "train")
