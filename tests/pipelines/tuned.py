"""A project folder with a plan of three short trials, and a study run in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dcal.config import Config
from tests.pipelines.scored import make_project

SCORE = "val/both/top1_accuracy"
STUDY: dict[str, Any] = {
    "name": "finches",
    "objectives": {SCORE: "maximize"},
    "budget": {"num_trials": 3, "minutes": None},
    "pruner": {"kind": "none"},
    "sampler_seed": 0,
    "enqueue": [],
    "final": {"num_configs": 1, "num_seeds": 2},
}
SPACE: dict[str, Any] = {
    "model.readout": {"kind": "categorical", "choices": ["class", "class_local"]},
    "model.top_r": {
        "kind": "float",
        "low": 0.1,
        "high": 0.9,
        "step": 0.1,
        "when": {"model.readout": "class_local"},
    },
    "train.lr": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
}
# Blocks of 64 x 64 pictures take milliseconds.
TRAIN = {
    "epochs": 2,
    "warmup_epochs": 0.0,
    "batch_size": 4,
    "log_every": 1,
    "checkpoint_minutes": 0.0,
}


def make_tuning_project(folder: Path, monkeypatch: pytest.MonkeyPatch, **train: Any) -> Config:
    """Prepare birds, and write params.yaml."""
    return make_project(folder, monkeypatch, train={**TRAIN, **train})


def write_plan(
    space: dict[str, Any] | None = None, base: dict[str, Any] | None = None, **study: Any
) -> Path:
    """Write a plan into the current directory."""
    path = Path("experiments/tune/finches.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = {"study": {**STUDY, **study}, "space": space or SPACE, "base": base or {}}
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return path
