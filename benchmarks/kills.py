"""Kill the pipeline at random moments, start it again, and compare every bit of what it leaves.

    python -m benchmarks.kills [--kills 20] [--seed 0] [--output results/benchmarks/kills.json]

A small run (drawn birds, 8 epochs of 8 steps, a checkpoint after every step) is made once without
disturbance, in a temporary clone of the project. Then runs of the same parameters are killed
(SIGKILL) one to three times each: at a random moment of training, right after an epoch, while a
checkpoint is being written, while the results are being written, while the test split is scored;
the trainer alone, DVC alone (its trainer is then an orphan beside the next one), or both. After
each kill `dvc repro` is called again. At the end the weights, the history, the scores and every
point in MLflow have to be those of the undisturbed run, in one MLflow run, each point once.

Compared with equality: nothing but times (seconds, pictures a second) is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psutil
from rich.console import Console
from rich.table import Table

from dcal.paths import compute_file_digest, write_json
from dcal.tracking.environment import describe_environment
from tests.project import Project, clone

PARAMETERS = (
    "preset=smoke",
    "train.epochs=8",
    "train.checkpoint_minutes=0",
    "train.log_every=1",
    "dataset.options.train_images=16",
)
# In the order in which a run meets them.
MOMENTS = ("start", "training", "epoch end", "checkpoint", "results", "evaluate")
TARGETS = ("trainer", "dvc", "both")
POLL_SECONDS = 0.001
PATIENCE_SECONDS = 120
TIMES = ("train/images_per_second",)


class Kill(NamedTuple):
    """One planned kill."""

    moment: str
    target: str
    delay_seconds: float


class Outcome(NamedTuple):
    """What a kill met."""

    kill: Kill
    hit: bool  # False: the run ended before the moment came
    steps_kept: int  # step of the newest checkpoint right after the kill


def main() -> None:
    """Run the plan, print a row a run, and write JSON."""
    arguments = _parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        rows = kill_runs(Path(folder), num_kills=arguments.kills, seed=arguments.seed)
    num_hit = sum(outcome["hit"] for row in rows for outcome in row["kills"])
    num_right = sum(row["differences"] == [] for row in rows)
    print(f"{num_hit} kills in {len(rows)} runs; {num_right} runs ended like the undisturbed one")
    if arguments.output:
        write_json(
            arguments.output,
            {
                "command": f"python -m benchmarks.kills --kills {arguments.kills} "
                f"--seed {arguments.seed}",
                "environment": describe_environment(device="CPU").model_dump(),
                "runs": rows,
            },
        )
    sys.exit(num_right != len(rows))


def kill_runs(
    folder: Path, *, num_kills: int, seed: int, moments: Sequence[str] = MOMENTS
) -> list[dict[str, Any]]:
    """Make the undisturbed run, then the disturbed ones, and say how each of them ended."""
    whole = clone(folder / "whole")
    whole.compose(*PARAMETERS)
    whole.repro("prepare")
    untouched = whole.copy(folder / "untouched")
    whole.repro("evaluate")
    expected = describe_results(whole)
    table = Table("run", "kills (moment, target, step kept)", "seconds", "differences")
    rows: list[dict[str, Any]] = []
    num_left = num_kills
    for number, kills in enumerate(islice(plan_kills(seed=seed, moments=moments), 2 * num_kills)):
        if num_left == 0:
            break
        project = untouched.copy(folder / f"run{number}")
        started = time.perf_counter()
        outcomes = [kill_once(project, kill) for kill in kills[:num_left]]
        num_left -= sum(outcome.hit for outcome in outcomes)
        mend(project)
        project.repro("evaluate")
        differences = compare(expected, describe_results(project))
        seconds = time.perf_counter() - started
        told = ", ".join(_tell(outcome) for outcome in outcomes)
        table.add_row(str(number), told, f"{seconds:.0f}", ", ".join(differences) or "none")
        rows.append(
            {
                "kills": [outcome.kill._asdict() | _rest(outcome) for outcome in outcomes],
                "seconds": round(seconds, 1),
                "differences": differences,
            }
        )
    Console(width=140).print(table)
    return rows


def plan_kills(*, seed: int, moments: Sequence[str] = MOMENTS) -> Iterator[list[Kill]]:
    """Yield the kills of each run, without end: the moments in turn, the rest by the seed."""
    generator = random.Random(seed)
    in_turn = cycle(moments)
    while True:
        chosen = [next(in_turn) for _ in range(generator.randint(1, 3))]
        # A run goes forward only: what would come too late goes first.
        yield [
            Kill(moment, generator.choice(TARGETS), generator.uniform(0, 3))
            for moment in sorted(chosen, key=MOMENTS.index)
        ]


def kill_once(project: Project, kill: Kill) -> Outcome:
    """Start the pipeline, wait for the moment, and kill the target."""
    mend(project)
    command = [str(Path(sys.executable).parent / "dvc"), "repro", "evaluate"]
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    hit = _wait_for(build_moment(project.folder, kill), process)
    if hit:
        _kill(process, kill.target)
    process.wait()
    return Outcome(kill, hit, _find_newest_step(project.folder))


def mend(project: Project) -> None:
    """Do what `make repro` does first: DVC may have been killed as it wrote a file of its own."""
    project.run("python", "-m", "pipelines.mend")


def build_moment(folder: Path, kill: Kill) -> Callable[[psutil.Process], bool]:
    """Return what tells that the moment has come; it is asked over and over."""
    history = folder / "results/train/history.csv"
    checkpoints = set((folder / "checkpoints").glob("*/step-*"))
    first_seen: list[float] = []

    def is_over(seconds: float, *, since: bool) -> bool:
        if since and not first_seen:
            first_seen.append(time.perf_counter())
        return bool(first_seen) and time.perf_counter() - first_seen[0] >= seconds

    def has_new_checkpoint() -> bool:
        return bool(set((folder / "checkpoints").glob("*/step-*")) - checkpoints)

    moments: dict[str, Callable[[psutil.Process], bool]] = {
        "start": lambda dvc: is_over(
            kill.delay_seconds, since=_find_child(dvc, "train") is not None
        ),
        "training": lambda dvc: is_over(kill.delay_seconds, since=has_new_checkpoint()),
        "epoch end": lambda dvc: history.is_file() and has_new_checkpoint(),
        "checkpoint": lambda dvc: any((folder / "checkpoints").glob("*/.part-*")),
        "results": lambda dvc: any((folder / "runs/train").glob("*model*")),
        "evaluate": lambda dvc: is_over(
            kill.delay_seconds, since=_find_child(dvc, "evaluate") is not None
        ),
    }
    return moments[kill.moment]


def describe_results(project: Project) -> dict[str, Any]:
    """Return all that has to be equal."""
    history = pd.read_csv(project.folder / "results/train/history.csv").drop(columns=list(TIMES))
    metrics = project.read_json("results/train/metrics.json")
    return {
        "weights": compute_file_digest(project.folder / "runs/train/model.safetensors"),
        "history": history.to_csv(index=False),
        "training scores": {k: v for k, v in metrics.items() if k != "train_seconds"},
        "test scores": project.read_json("results/evaluate/metrics.json"),
        "predictions": pd.read_parquet(
            project.folder / "runs/evaluate/predictions.parquet"
        ).to_json(),
        "MLflow": describe_tracked(project),
    }


def describe_tracked(project: Project) -> list[dict[str, Any]]:
    """Return every point of every MLflow run of the project, with times as seconds of the run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    experiments = [entry.experiment_id for entry in client.search_experiments()]
    runs = []
    for run in client.search_runs(experiments):
        points = {
            key: [
                (point.step, point.value)
                for point in client.get_metric_history(run.info.run_id, key)
            ]
            for key in sorted(run.data.metrics)
            if key not in TIMES
        }
        runs.append({"status": run.info.status, "points": points, "params": run.data.params})
    return runs


def compare(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the names of what differs, each with its first line that does."""
    return [
        f"{name}: {_find_first(value, found[name])}"
        for name, value in expected.items()
        if found[name] != value
    ]


def _find_first(expected: Any, found: Any) -> str:
    texts = (
        each if isinstance(each, str) else json.dumps(each, indent=0) for each in (expected, found)
    )
    pairs = zip_longest(*(text.splitlines() for text in texts))
    number, (was, became) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
    return f"line {number}, {was} became {became}"[:500]


def _wait_for(is_now: Callable[[psutil.Process], bool], process: subprocess.Popen[bytes]) -> bool:
    dvc = psutil.Process(process.pid)
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while process.poll() is None and time.perf_counter() < deadline:
        if is_now(dvc):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _kill(process: subprocess.Popen[bytes], target: str) -> None:
    dvc = psutil.Process(process.pid)
    stages = [child for child in dvc.children(recursive=True) if child.is_running()]
    for victim in [*(stages if target != "dvc" else []), *([dvc] if target != "trainer" else [])]:
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _find_child(dvc: psutil.Process, stage: str) -> psutil.Process | None:
    try:
        for child in dvc.children(recursive=True):
            if f"pipelines.{stage}" in child.cmdline():
                return child
    except psutil.Error:
        return None
    return None


def _find_newest_step(folder: Path) -> int:
    names = [path.name for path in (folder / "checkpoints").glob("*/step-*.ckpt")]
    return max((int(name[5:13]) for name in names), default=0)


def _tell(outcome: Outcome) -> str:
    kill = outcome.kill
    where = f"step {outcome.steps_kept}" if outcome.hit else "came too late"
    return f"{kill.moment} / {kill.target} / {where}"


def _rest(outcome: Outcome) -> dict[str, Any]:
    return {"hit": outcome.hit, "steps_kept": outcome.steps_kept}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
