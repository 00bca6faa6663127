"""What the driver of a study costs a trial, beside Optuna alone and beside the trial's MLflow run.

    python -m benchmarks.tuning [--trials 60] [--output results/benchmarks/tuning.json]

Trials of the default plan that train nothing: their score is a function of their settings. Three
studies in fresh SQLite files take turns, a trial each: `optuna` (its own loop and storage with the
same sampler, pruner and suggestions), `worker` (ours: states, retries, claims, signs of life,
resumption) and `tracked` (ours, with a run in MLflow a trial that is given 13 epochs of scores).
Printed is the
median of a trial's milliseconds over the first and the second half of the trials, because the
sampler gets slower with each; `overhead` is worker less optuna, by trial.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import optuna

from dcal.config import Config, load_config
from dcal.paths import write_json
from dcal.tracking import Environment, describe_environment, start_run
from dcal.tuning.driver import Worker
from dcal.tuning.plan import Plan, find_base, load_plan
from dcal.tuning.space import apply, suggest
from dcal.tuning.storage import open_storage
from dcal.tuning.study import build_pruner, make_sampler, open_study

NUM_BLOCKS = 6
NUM_EPOCHS = 13
KINDS = ("optuna", "worker", "tracked")
Step = Callable[[], None]


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", default="experiments/tune/loss_and_top_r.yaml")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/tuning.json"))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    record = {
        "command": f"python -m benchmarks.tuning --trials {arguments.trials}",
        "plan": arguments.plan,
        "trials": arguments.trials,
        **measure(load_plan(arguments.plan), arguments.trials),
        "environment": describe_environment(device="cpu").model_dump(mode="json"),
        "optuna": optuna.__version__,
    }
    write_json(arguments.output, record)
    print(json.dumps(record, indent=1))


def measure(plan: Plan, num_trials: int) -> dict[str, Any]:
    """Return medians of a trial's milliseconds, by kind and half."""
    base = find_base(plan, load_config("params.yaml"))
    budget = plan.study.budget.model_copy(update={"num_trials": num_trials + 1, "minutes": None})
    plan = plan.model_copy(update={"study": plan.study.model_copy(update={"budget": budget})})
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with TemporaryDirectory() as folder:
        os.environ["DCAL_WORK_ROOT"] = folder
        steps = {kind: _open(kind, plan, base, Path(folder)) for kind in KINDS}
        for step in steps.values():
            step()  # imports, first tables
        for _ in range(num_trials):
            for kind, step in steps.items():
                started = time.perf_counter()
                step()
                times[kind].append(1000 * (time.perf_counter() - started))
    overhead = [w - o for w, o in zip(times["worker"], times["optuna"], strict=True)]
    return {
        "milliseconds": {kind: _summarise(values) for kind, values in times.items()},
        "overhead": _summarise(overhead),
    }


def score(config: Config) -> dict[str, float]:
    """Return a score that follows from the settings alone."""
    distance = abs(config.model.top_r - 0.4) + abs(config.loss.initial_log_variances.sa) / 4
    return {"val/both/top1_accuracy": 1.0 - distance}


def _summarise(values: list[float]) -> dict[str, float]:
    middle = len(values) // 2
    halves = {"first_half": values[:middle], "second_half": values[middle:]}
    return {name: round(statistics.median(half), 1) for name, half in halves.items()}


def _open(kind: str, plan: Plan, base: Config, folder: Path) -> Step:
    os.environ["DCAL_OPTUNA_URL"] = f"sqlite:///{folder / kind}.db"
    storage = open_storage()
    study = open_study(storage, plan, base, num_blocks=NUM_BLOCKS, fingerprints={}, described={})
    if kind == "optuna":
        plain = optuna.load_study(
            study_name=plan.study.name,
            storage=optuna.storages.RDBStorage(os.environ["DCAL_OPTUNA_URL"]),
        )
        return lambda: _run_plain(plain, plan, base)
    environment = describe_environment(device="cpu") if kind == "tracked" else None

    def run_trial(config: Config, trial: optuna.Trial) -> Mapping[str, float]:
        if environment is not None:
            _track(config, environment)
        return score(config)

    worker = Worker(study, storage, plan, base, run_trial, announce=lambda line: None)
    url = os.environ["DCAL_OPTUNA_URL"]

    def run_one() -> None:
        os.environ["DCAL_OPTUNA_URL"] = url  # which file the worker's lock lies beside
        assert worker._run_one()

    return run_one


def _run_plain(study: optuna.Study, plan: Plan, base: Config) -> None:
    study.pruner = build_pruner(plan, base)
    study.sampler = make_sampler(0, num_begun=len(study.get_trials(deepcopy=False)))

    def objective(trial: optuna.Trial) -> float:
        config = apply(base, suggest(trial, plan.space, base))
        return score(config)["val/both/top1_accuracy"]

    study.optimize(objective, n_trials=1)


def _track(config: Config, environment: Environment) -> None:
    tracker = start_run(
        config,
        environment=environment,
        fingerprint="0" * 12,
        data_digest="0" * 12,
        run_key=uuid4().hex,
        started=datetime.now(UTC),
    )
    for epoch in range(NUM_EPOCHS):
        tracker.log_metrics({"val/both/top1_accuracy": 0.5, "val/both/loss": 1.0}, step=epoch)
    tracker.end()


if __name__ == "__main__":
    main()
