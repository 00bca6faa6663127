"""DCAL against SA alone, over seeds, at the same number of steps and at the same wall time.

    dvc repro prepare
    python -m benchmarks.accuracy [--seeds 0 1 2] [--output results/benchmarks/birds.json]

Runs what params.yaml composes, with three arms: `dcal` (all branches), `sa_steps` (GLCA and PWCA
off, the same epochs) and `sa_time` (SA alone for as many epochs as DCAL's time pays for, by the
ratio of their epochs, measured in turn). Every arm is scored on the test split with the
weights its own rule selects: top-1, or for Re-ID mean AP and rank-1 with the camera rule. Beside
them: chance, and the nearest picture (of train, or of the gallery) by HSV histogram and by raw
pixels. Nothing is logged to MLflow.
"""

from __future__ import annotations

import os

# Idle OpenMP threads that spin starve the loader; torch reads this once, when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import json
import math
import shlex
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from scipy import stats

from benchmarks.scores import REID_METRICS, compute_chance, score_model, score_plain_features
from dcal.ablation.epoch_time import measure_epoch_ratio
from dcal.config import Config, load_config, parse_config
from dcal.data.datamodule import Loaders, Pictures, build_loaders, open_pictures
from dcal.models import build_model
from dcal.models.backbone import get_normalisation
from dcal.models.dcal import DCAL
from dcal.tracking.environment import describe_environment
from dcal.training.fit import Outlets, fit
from dcal.training.runtime import resolve_runtime

METRICS = ("top1", *REID_METRICS)
ARMS = ("dcal", "sa_steps", "sa_time")


def main() -> None:
    """Run all arms and seeds, print the table, write JSON after every run."""
    arguments = _parse_arguments()
    config = load_config(arguments.params)
    pictures = open_pictures(config.dataset)
    record: dict[str, Any] = {
        "command": shlex.join(
            ["python", "-m", "benchmarks.accuracy", "--seeds", *map(str, arguments.seeds)]
            + ["--arms", *arguments.arms]
        ),
        "dataset": config.dataset.name,
        "counts": pictures.report.counts,
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
        "environment": describe_environment(
            device=resolve_runtime(config.train).device_name
        ).model_dump(mode="json"),
        "chance": compute_chance(pictures, config),
        "epoch_time_ratio": measure_ratio(config, pictures),
        "neighbours": score_plain_features(pictures, config),
        "runs": [],
    }
    for arm in arguments.arms:
        ratio = record["epoch_time_ratio"] if arm == "sa_time" else 1.0
        for seed in arguments.seeds:
            epochs = round(config.train.epochs * ratio)
            run = run_arm(arm, config, pictures, seed=seed, epochs=epochs)
            record["runs"].append(run)
            print(json.dumps(run), flush=True)
            _write(arguments.output, record)
    record["summary"] = summarise(record["runs"])
    _write(arguments.output, record)
    print(format_table(record))


def configure_arm(arm: str, config: Config, *, seed: int, epochs: int) -> Config:
    """Return the config of an arm: both SA arms have GLCA and PWCA off."""
    tree = config.model_dump(mode="json")
    tree["seed"], tree["train"]["epochs"] = seed, epochs
    if arm != "dcal":
        tree["model"]["glca_blocks"] = tree["model"]["pwca_blocks"] = 0
    return parse_config(tree)


def measure_ratio(config: Config, pictures: Pictures) -> float:
    """Return how much longer an epoch of DCAL takes than one of SA alone."""
    dcal, alone = (configure_arm(arm, config, seed=0, epochs=1) for arm in ("dcal", "sa_steps"))
    return measure_epoch_ratio(dcal, alone, build=lambda each: build(each, pictures))


def build(config: Config, pictures: Pictures) -> tuple[Loaders, DCAL]:
    """Build what is trained: the loaders and the new model."""
    mean, std = get_normalisation(config.model.backbone)
    loaders = build_loaders(pictures, config, mean=mean, std=std)
    torch.manual_seed(config.seed)
    return loaders, build_model(config.model, len(pictures.report.class_names))


def run_arm(
    arm: str, config: Config, pictures: Pictures, *, seed: int, epochs: int
) -> dict[str, Any]:
    """Train one arm with one seed and score it on the test split."""
    changed = configure_arm(arm, config, seed=seed, epochs=epochs)
    loaders, model = build(changed, pictures)
    with TemporaryDirectory() as folder:
        result = fit(
            model,
            changed,
            loaders,
            runtime=resolve_runtime(changed.train),
            outlets=Outlets(Path(folder) / "history.csv", log_metrics=lambda values, step: None),
        )
    return {
        "arm": arm,
        "seed": seed,
        "epochs": epochs,
        "steps": result.num_steps,
        "train_seconds": round(result.train_seconds, 1),
        **score_model(result.model, changed, pictures, loaders.test),
    }


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean, standard deviation and 95 % interval (Student) of each arm, metric, branch."""
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs):
        mine = [run for run in runs if run["arm"] == arm]
        for metric in (name for name in METRICS if name in mine[0]):
            for branch in mine[0][metric]:
                rows.append(
                    {
                        "arm": arm,
                        "branch": branch,
                        "metric": metric,
                        **_summarise_values([run[metric][branch] for run in mine]),
                        "epochs": mine[0]["epochs"],
                        "train_seconds": statistics.mean(run["train_seconds"] for run in mine),
                    }
                )
    return rows


def _summarise_values(values: list[float]) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": statistics.mean(values), "std": None, "half_interval_95": None}
    if len(values) > 1:
        found["std"] = statistics.stdev(values)
        quantile = stats.t.ppf(0.975, len(values) - 1)
        found["half_interval_95"] = float(quantile * found["std"] / math.sqrt(len(values)))
    return {**found, "num_seeds": len(values)}


def format_table(record: dict[str, Any]) -> str:
    """Write the summary for reading."""
    lines = [f"{record['dataset']}:"]
    for metric, chance in record["chance"].items():
        plain = record["neighbours"][metric].items()
        told = ", ".join(f"{name} {value:.3f}" for name, value in plain)
        lines.append(f"{metric} by chance {chance:.3f}; by the nearest picture: {told}")
    lines.append(
        f"{'arm':9} {'branch':6} {'metric':8} {'epochs':>6} {'seconds':>8} {'mean':>7} {'std':>6} "
        f"{'95 %':>6}"
    )
    for row in record["summary"]:
        spread = (
            "     -      -"
            if row["std"] is None
            else (f"{row['std']:6.3f} {row['half_interval_95']:6.3f}")
        )
        lines.append(
            f"{row['arm']:9} {row['branch']:6} {row['metric']:8} {row['epochs']:6d}"
            f" {row['train_seconds']:8.0f} {row['mean']:7.3f} {spread}"
        )
    return "\n".join(lines)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/birds.json"))
    return parser.parse_args()


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
