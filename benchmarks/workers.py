"""What workers of one study give together, what a storage bears, and what a worker costs to start.

    python -m benchmarks.workers [--trials 24] [--load 400] [--rounds 3]
        [--output results/benchmarks/workers.json]

`trials an hour` is of 1, 2 and 4 processes of `python -m pipelines.tune --worker` on this machine,
each with a new database and the same number of tiny trials (four classes of drawn birds, two
epochs), from the first trial's begin to the last one's end; `with start` counts from the start of
the processes. `load` is of 8 processes whose trials train nothing, on PostgreSQL, SQLite and a
journal: trials a second, and how many trials or processes failed, which must be none. `start` is,
as the median of some rounds, the seconds of an empty Python, of torch alone, of all that a worker
imports, and of opening a study in a new storage and in one that is there. The PostgreSQL server is
one of this benchmark's own, on the loopback, and waits for the disk as by default; without its
programs those lines are left out, and said.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import sqlalchemy
import yaml
from optuna.trial import TrialState

from benchmarks.postgres import NoServer, run_postgres
from dcal.config import load_config
from dcal.paths import write_json
from dcal.tracking import describe_environment
from dcal.tuning.plan import load_plan
from dcal.tuning.storage import open_storage

ROOT = Path(__file__).resolve().parent.parent
PLAN = ROOT / "experiments/tune/loss_and_top_r.yaml"
TEAMS = (1, 2, 4)
NUM_LOADING = 8
DATASET = ("num_classes=4", "train_images=8", "val_images=2", "test_images=3")
TRAIN = {"train.epochs": 2, "train.warmup_epochs": 0.0, "train.batch_size": 8}
LAYERS = {"python": "pass", "torch": "import torch", "worker": "import pipelines.tune.__main__"}
logger = logging.getLogger(__name__)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--load", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/workers.json"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with TemporaryDirectory() as folder, list_places(Path(folder)) as places:
        record = {
            "command": "python -m benchmarks.workers "
            f"--trials {arguments.trials} --load {arguments.load} --rounds {arguments.rounds}",
            "trials_an_hour": measure_teams(Path(folder), arguments.trials),
            "load": {name: measure_load(url, arguments.load) for name, url in places.items()},
            "start_seconds": measure_start(places, arguments.rounds),
            "environment": describe_environment(device="cpu").model_dump(mode="json"),
            "optuna": optuna.__version__,
        }
    print(render(record))
    write_json(arguments.output, record)


@contextmanager
def list_places(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the address of each storage by its name, with a brace where a new name belongs."""
    with ExitStack() as running:
        places = {}
        try:
            server = running.enter_context(run_postgres(keeps_durable=True))
            places["postgresql"] = f"{server.rpartition('/')[0]}/{{}}"
        except NoServer as error:
            logger.warning("%s: nothing is measured on PostgreSQL", error)
        places["sqlite"] = f"sqlite:///{folder}/{{}}.db"
        places["journal"] = f"journal:///{folder}/{{}}.journal"
        yield places


def measure_teams(folder: Path, num_trials: int) -> dict[str, dict[str, float]]:
    """Return trials an hour by the number of workers."""
    make_project(folder, num_trials)
    return {str(size): _measure_team(folder, size) for size in TEAMS}


def make_project(folder: Path, num_trials: int) -> None:
    """Draw pictures that are trained on in seconds, and write a plan."""
    options = load_config(ROOT / "params.yaml").dataset.options
    drawn = {**options, **{name: int(value) for name, value in (d.split("=") for d in DATASET)}}
    config = load_config(ROOT / "params.yaml", [f"dataset.options={json.dumps(drawn)}"])
    params = yaml.safe_dump(config.model_dump(mode="json"))
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    plan = load_plan(PLAN).model_dump(mode="json")
    plan["study"]["budget"] = {"num_trials": num_trials, "minutes": None}
    plan["study"]["pruner"] = {"kind": "none"}
    plan["base"] = TRAIN
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    for stage in ("fetch", "prepare"):
        _wait([_start(folder, f"pipelines.{stage}")])


def measure_load(place: str, num_trials: int) -> dict[str, float]:
    """Return how many empty trials 8 processes carry out in a second, and how many went wrong."""
    url = _make_place(place, "load")
    team = [_start_empty(url, num_trials) for _ in range(NUM_LOADING)]
    num_errors = sum(process.wait() != 0 for process in team)
    for process in team:
        process.communicate()
    trials = read_trials(url)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    num_errors += len(trials) - len(complete) + abs(num_trials - len(complete))
    return {
        "trials": len(complete),
        "trials_a_second": round(len(complete) / _find_span(complete), 1),
        "errors": num_errors,
    }


def measure_start(places: dict[str, str], rounds: int) -> dict[str, float]:
    """Return the seconds of each layer of a worker's start."""
    seconds: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, code in LAYERS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=_environment())
            seconds.setdefault(name, []).append(time.perf_counter() - started)
        for name, place in places.items():
            url = _make_place(place, f"start{number}")
            for kind in ("new", "there"):
                process = _start_empty(url, 1)
                said, _ = process.communicate()
                seconds.setdefault(f"{name}, {kind}", []).append(json.loads(said)["open"])
    return {name: round(statistics.median(values), 3) for name, values in seconds.items()}


def read_trials(url: str) -> list[optuna.trial.FrozenTrial]:
    """Return the trials of the only study of a storage."""
    before = os.environ.get("DCAL_OPTUNA_URL")
    os.environ["DCAL_OPTUNA_URL"] = url
    try:
        (study,) = optuna.get_all_study_names(storage=open_storage())
        return optuna.load_study(study_name=study, storage=open_storage()).trials
    finally:
        os.environ["DCAL_OPTUNA_URL"] = before or ""


def render(record: dict[str, Any]) -> str:
    """Return the figures as lines."""
    lines = [f"{'workers':>24} {'trials an hour':>15} {'with start':>12}"]
    for size, row in record["trials_an_hour"].items():
        lines.append(f"{size:>24} {row['trials_an_hour']:>15.0f} {row['with_start']:>12.0f}")
    lines.append(f"{'load of 8 workers':>24} {'trials a second':>15} {'errors':>12}")
    for name, row in record["load"].items():
        lines.append(f"{name:>24} {row['trials_a_second']:>15.1f} {row['errors']:>12}")
    lines.append(f"{'start':>24} {'seconds':>15}")
    lines += [f"{name:>24} {value:>15.2f}" for name, value in record["start_seconds"].items()]
    return "\n".join(lines)


def _measure_team(folder: Path, size: int) -> dict[str, float]:
    url = f"sqlite:///{folder}/team{size}.db"
    # A work root each, so that no team finds MLflow's runs of another one.
    work = {"DCAL_WORK_ROOT": str(folder / f"work{size}")}
    command = ("pipelines.tune", "--plan", "plan.yaml", "--worker")
    started = time.perf_counter()
    _wait([_start(folder, *command, DCAL_OPTUNA_URL=url, **work) for _ in range(size)])
    whole = time.perf_counter() - started
    trials = read_trials(url)
    assert all(trial.state is TrialState.COMPLETE for trial in trials)
    return {
        "trials_an_hour": round(3600 * len(trials) / _find_span(trials), 1),
        "with_start": round(3600 * len(trials) / whole, 1),
    }


def _find_span(trials: list[optuna.trial.FrozenTrial]) -> float:
    begun = [trial.datetime_start for trial in trials if trial.datetime_start]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    return (max(ended) - min(begun)).total_seconds()


def _start_empty(url: str, num_trials: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.empty_worker", str(num_trials)],
        cwd=ROOT,
        env=_environment(DCAL_OPTUNA_URL=url),
        stdout=subprocess.PIPE,
        text=True,
    )


def _start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=_environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.wait():
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")


def _make_place(place: str, name: str) -> str:
    url = place.format(name)
    if url.startswith("postgresql"):
        engine = sqlalchemy.create_engine(place.format("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        engine.dispose()
    return url


def _environment(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DCAL_", "DVC_", "MLFLOW_T"))}
    # One thread a process: two of them wait for each other where others work beside them.
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables


if __name__ == "__main__":
    main()
