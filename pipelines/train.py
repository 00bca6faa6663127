"""Stage train: fine-tune the branches together, write the model and its record."""

from __future__ import annotations

import os

# Idle OpenMP threads that spin starve the loader; torch reads this once, when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import dcal
from dcal.config import Config, load_config
from dcal.data.datamodule import Pictures, build_loaders, open_pictures
from dcal.models import build_model, count_parameters
from dcal.models.backbone import get_normalisation
from dcal.models.build import locate_weights
from dcal.models.weights import save_model
from dcal.paths import (
    compute_code_digest,
    compute_file_digest,
    compute_fingerprint,
    write_json,
)
from dcal.tracking.environment import describe_environment
from dcal.tracking.record import DatasetRecord, RunRecord, write_run_record
from dcal.tracking.runs import start_run
from dcal.training.fit import TrainingResult, describe_run, fit
from dcal.training.runtime import resolve_runtime
from pipelines.stage import run_stage

MODEL_PATH = Path("runs/train/model.safetensors")
RESULTS = Path("results/train")
SECTIONS = ("seed", "dataset", "transforms", "model", "loss", "train")
# What cannot change a weight. Of the data set, the index's digest says all that matters.
WITHOUT_EFFECT: dict[str, Any] = {"dataset": True, "train": {"workers", "log_every"}}
CODE = ("attention", "data", "losses", "models", "training")


def main() -> None:
    """Read params.yaml and the index, train, and write runs/train and results/train."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config("params.yaml")
    pictures = open_pictures(config.dataset)
    runtime = resolve_runtime(config.train)
    mean, std = get_normalisation(config.model.backbone)
    loaders = build_loaders(pictures, config, mean=mean, std=std)
    torch.manual_seed(config.seed)  # of the new heads
    model = build_model(config.model, num_classes=len(pictures.report.class_names))
    check_rollout_depth(config, model.num_blocks)
    lines = describe_run(model, config, loaders, runtime)
    Console(soft_wrap=True).print(lines, highlight=False, markup=False)

    environment = describe_environment(device=runtime.device_name)
    fingerprint = compute_run_fingerprint(config, data_digest=pictures.report.digest)
    tracker = start_run(
        config,
        environment=environment,
        fingerprint=fingerprint,
        data_digest=pictures.report.digest,
    )
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        tracker.log_file("params.yaml", "config")
        result = fit(
            model,
            config,
            loaders,
            runtime=runtime,
            history_path=RESULTS / "history.csv",
            log_metrics=tracker.log_metrics,
        )
        save_model(MODEL_PATH, result.model, build_card(config, pictures, result, mean, std))
        write_json(RESULTS / "metrics.json", collect_metrics(result))
    except BaseException:
        tracker.end("FAILED")
        raise
    write_run_record(
        RESULTS / "run.json",
        RunRecord(
            **environment.model_dump(),
            run_id=tracker.run_id,
            tracking_uri=describe_uri(tracker.run_id),
            fingerprint=fingerprint,
            seed=config.seed,
            dataset=DatasetRecord(name=config.dataset.name, digest=pictures.report.digest),
            model={"backbone": config.model.backbone, "parameters": count_parameters(model)},
            warnings=collect_warnings(config, pictures),
            started=started.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - clock,
        ),
    )
    tracker.end()


def compute_run_fingerprint(config: Config, *, data_digest: str) -> str:
    """Return what tells this run from any with other parameters, data, code or starting weights."""
    package = Path(dcal.__file__).parent
    params = config.model_dump(mode="json", include=set(SECTIONS), exclude=WITHOUT_EFFECT)
    weights = locate_weights(config.model.weights)
    params["weights_sha256"] = None if weights is None else compute_file_digest(weights)
    return compute_fingerprint(
        params,
        data_digest=data_digest,
        code_digest=compute_code_digest([package / folder for folder in CODE]),
    )


def check_rollout_depth(config: Config, num_blocks: int) -> None:
    """Refuse a depth that the rollout stage could not draw, before hours of training."""
    depth = config.rollout.num_blocks
    if depth is not None and depth > num_blocks:
        raise ValueError(
            f"rollout.num_blocks: expected 1 to {num_blocks}, the blocks of "
            f"{config.model.backbone}, or null for all; got {depth}"
        )


def build_card(
    config: Config,
    pictures: Pictures,
    result: TrainingResult,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> dict[str, Any]:
    """Collect what a reader of the model file needs to use it."""
    return {
        "config": config.model_dump(mode="json"),
        "class_names": pictures.report.class_names,
        "preprocessing": {"mean": list(mean), "std": list(std)},
        "weights": result.weights,
        "selection": config.train.selection,
        "selected_epoch": result.selected_epoch,
        "dataset": {"name": config.dataset.name, "digest": pictures.report.digest},
    }


def collect_metrics(result: TrainingResult) -> dict[str, float | int | None]:
    """Return what `dvc metrics` shows of training: scores of the last epoch, and the choice."""
    return {
        **result.scores,
        "selected_epoch": result.selected_epoch,
        "selection_score": result.selection_score,
        "steps": result.num_steps,
        "train_seconds": round(result.train_seconds, 1),
    }


def collect_warnings(config: Config, pictures: Pictures) -> list[str]:
    """Return what a reader of the results must know: the data's warnings, and selection on test."""
    warnings = list(pictures.report.warnings)
    if config.train.selection == "test":
        warnings.append("the checkpoint was selected on the test split: its scores are optimistic")
    return warnings


def describe_uri(run_id: str | None) -> str:
    """Return where the run was tracked, without credentials."""
    if run_id is None:
        return "not tracked"
    from dcal.tracking.store import describe_tracking_uri

    return describe_tracking_uri()


if __name__ == "__main__":
    run_stage(main)
