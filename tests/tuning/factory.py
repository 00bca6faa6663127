"""Plans for the tests of tuning, and a training that takes no time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dcal.config import Config, load_config
from dcal.tuning.driver import Worker
from dcal.tuning.objective import RunTrial
from dcal.tuning.plan import Plan
from dcal.tuning.storage import Heartbeat, open_storage
from dcal.tuning.study import open_study

ROOT = Path(__file__).resolve().parents[2]
NUM_BLOCKS = 6
SCORE = "val/both/top1_accuracy"
COST = "cost/inference_gmacs"
QUICK = Heartbeat(interval_seconds=1, grace_seconds=2)
READOUT = {"kind": "categorical", "choices": ["class", "local", "class_local"]}
TOP_R = {"kind": "float", "low": 0.1, "high": 0.9, "step": 0.1}
LR = {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}
DROP_PATH = {"kind": "float", "low": 0.0, "high": 0.3}
WITH_LOCAL = {"when": {"model.readout": ["local", "class_local"]}}
DESCRIBED = {"data": "da7a", "model.readout": "class"}
SPACE: dict[str, Any] = {"train.lr": LR, "model.drop_path": DROP_PATH}
STUDY: dict[str, Any] = {
    "name": "finches",
    "objectives": {SCORE: "maximize"},
    "budget": {"num_trials": 4, "minutes": None},
    "pruner": {"kind": "none"},
    "sampler_seed": 3,
    "enqueue": [],
}


def load_base(*overrides: str) -> Config:
    """Return the committed config."""
    return load_config(ROOT / "params.yaml", list(overrides))


def make_plan(space: Mapping[str, Any] = SPACE, **study: Any) -> Plan:
    """Return a plan; `num_trials` is that of the budget."""
    if "num_trials" in study:
        study["budget"] = {"num_trials": study.pop("num_trials"), "minutes": None}
    return Plan.model_validate({"study": {**STUDY, **study}, "space": dict(space)})


def open_worker(
    plan: Plan, run_trial: RunTrial, *, base: Config | None = None, **options: Any
) -> Worker:
    """Return a worker of the plan's study in the database that the environment names."""
    base = base or load_base()
    storage = open_storage(QUICK)
    study = open_study(
        storage,
        plan,
        base,
        num_blocks=NUM_BLOCKS,
        fingerprints={"code": "c0de", "parameters": "0"},
        described=DESCRIBED,
    )
    return Worker(study, storage, plan, base, run_trial, **options)


def score(config: Config, trial: optuna.Trial) -> dict[str, float]:
    """Return scores that a training might give, from the config alone."""
    distance = math.log10(config.train.lr / 2e-3) ** 2 + (config.model.drop_path - 0.1) ** 2
    return {SCORE: 1 - distance, COST: 1.0 + config.model.glca_blocks * config.model.top_r}


def list_states(study: optuna.Study) -> list[TrialState]:
    """Return the state of every trial."""
    return [trial.state for trial in list_trials(study)]


def list_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return all trials as the storage has them."""
    return study.get_trials(deepcopy=False)
