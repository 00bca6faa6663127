"""DCAL against SA alone, over seeds, at the same number of steps and at the same wall time.

    dvc repro prepare
    python -m benchmarks.accuracy [--seeds 0 1 2] [--output results/benchmarks/birds.json]

Runs what params.yaml composes, with three arms: `dcal` (all branches), `sa_steps` (GLCA and PWCA
off, the same epochs) and `sa_time` (SA alone for as many epochs as DCAL's time pays for, by the
ratio of their training steps, measured in turn). Every arm is scored on the test split with the
weights its own rule selects. Beside them: chance, and the nearest neighbour in the train split by
HSV histogram and by raw pixels. Nothing is logged to MLflow.
"""

from __future__ import annotations

import os

# Idle OpenMP threads that spin starve the loader; torch reads this once, when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import functools
import json
import math
import shlex
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy import stats

from dcal.attention.pairing import draw_pairing
from dcal.config import Config, load_config, parse_config
from dcal.data.datamodule import Pictures, build_loaders, open_pictures
from dcal.data.images import load_image
from dcal.data.neighbours import compute_hsv_histogram, compute_neighbour_accuracy
from dcal.models import build_model
from dcal.models.backbone import get_normalisation
from dcal.models.dcal import DCAL
from dcal.tracking.environment import describe_environment
from dcal.training.branches import compute_probabilities
from dcal.training.fit import Outlets, fit
from dcal.training.runtime import resolve_runtime

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
        "chance": 1 / len(pictures.report.class_names),
        "step_time_ratio": measure_step_ratio(config, pictures),
        "neighbours": score_nearest_neighbours(pictures, config.model.image_size),
        "runs": [],
    }
    for arm in arguments.arms:
        ratio = record["step_time_ratio"] if arm == "sa_time" else 1.0
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


def measure_step_ratio(config: Config, pictures: Pictures, *, rounds: int = 8) -> float:
    """Return the median ratio of a DCAL step's time to one of SA alone, run in turn."""
    steps = []
    for arm in ("dcal", "sa_steps"):
        changed = configure_arm(arm, config, seed=0, epochs=1)
        model = build_model(changed.model, len(pictures.report.class_names)).train()
        images = torch.randn(config.train.batch_size, 3, *config.model.image_size)
        pairing = draw_pairing(len(images), seed=0, step=0) if changed.model.pwca_blocks else None
        steps.append(functools.partial(_run_step, model, images, pairing))
    ratios = []
    for _ in range(rounds + 1):
        times = []
        for step in steps:
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios[1:])


def _run_step(model: DCAL, images: torch.Tensor, pairing: torch.Tensor | None) -> None:
    output = model(images, distractor_indices=pairing)
    logits = [output.sa_logits, output.glca_logits, output.pwca_logits]
    torch.stack([part.logsumexp(1).mean() for part in logits if part is not None]).sum().backward()


def run_arm(
    arm: str, config: Config, pictures: Pictures, *, seed: int, epochs: int
) -> dict[str, Any]:
    """Train one arm with one seed and score it on the test split."""
    changed = configure_arm(arm, config, seed=seed, epochs=epochs)
    mean, std = get_normalisation(changed.model.backbone)
    loaders = build_loaders(pictures, changed, mean=mean, std=std)
    torch.manual_seed(seed)
    model = build_model(changed.model, len(pictures.report.class_names))
    with TemporaryDirectory() as folder:
        result = fit(
            model,
            changed,
            loaders,
            runtime=resolve_runtime(changed.train),
            outlets=Outlets(Path(folder) / "history.csv", log_metrics=lambda values, step: None),
        )
    right: dict[str, int] = {}
    with torch.inference_mode():
        for batch in loaders.test:
            for branch, values in compute_probabilities(result.model(batch["image"])).items():
                is_right = values.argmax(dim=1) == batch["label"]
                right[branch] = right.get(branch, 0) + int(is_right.sum())
    num_test = pictures.report.counts["test"]
    return {
        "arm": arm,
        "seed": seed,
        "epochs": epochs,
        "steps": result.num_steps,
        "train_seconds": round(result.train_seconds, 1),
        "top1": {branch: count / num_test for branch, count in right.items()},
    }


def score_nearest_neighbours(pictures: Pictures, image_size: tuple[int, int]) -> dict[str, float]:
    """Return test top-1 of the nearest training picture by HSV histogram and by raw pixels."""
    height, width = image_size
    features: dict[str, dict[str, np.ndarray]] = {"hsv_histogram": {}, "raw_pixels": {}}
    for split in ("train", "test"):
        images = [
            np.asarray(load_image(pictures.root / path).resize((width, height)))
            for path in pictures.select(split)["path"]
        ]
        features["hsv_histogram"][split] = np.stack([compute_hsv_histogram(i) for i in images])
        features["raw_pixels"][split] = np.stack(images).reshape(len(images), -1) / np.float32(255)
    labels = {split: pictures.select(split)["label"].to_numpy() for split in ("train", "test")}
    return {
        name: compute_neighbour_accuracy(
            of["train"], labels["train"], test_features=of["test"], test_labels=labels["test"]
        )
        for name, of in features.items()
    }


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean, standard deviation and 95 % interval (Student) of each arm's branches."""
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs):
        mine = [run for run in runs if run["arm"] == arm]
        for branch in mine[0]["top1"]:
            values = [run["top1"][branch] for run in mine]
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
            half = stats.t.ppf(0.975, len(values) - 1) * spread / math.sqrt(len(values))
            rows.append(
                {
                    "arm": arm,
                    "branch": branch,
                    "mean": statistics.mean(values),
                    "std": None if math.isnan(spread) else spread,
                    "half_interval_95": None if math.isnan(spread) else float(half),
                    "num_seeds": len(values),
                    "epochs": mine[0]["epochs"],
                    "train_seconds": statistics.mean(run["train_seconds"] for run in mine),
                }
            )
    return rows


def format_table(record: dict[str, Any]) -> str:
    """Write the summary for reading."""
    lines = [
        f"{record['dataset']}: chance {record['chance']:.3f}; nearest neighbour: "
        + ", ".join(f"{name} {value:.3f}" for name, value in record["neighbours"].items()),
        f"{'arm':10} {'branch':6} {'epochs':>6} {'seconds':>8} {'top-1':>7} {'std':>6} {'95 %':>6}",
    ]
    for row in record["summary"]:
        spread = (
            "     -      -"
            if row["std"] is None
            else (f"{row['std']:6.3f} {row['half_interval_95']:6.3f}")
        )
        lines.append(
            f"{row['arm']:10} {row['branch']:6} {row['epochs']:6d} {row['train_seconds']:8.0f}"
            f" {row['mean']:7.3f} {spread}"
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
