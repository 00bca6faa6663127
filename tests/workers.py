"""A project whose trainings take a second, and processes that share them, some of them killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from dcal.tracking.store import initialise_database
from tests.pipelines.tuned import make_tuning_project

ROOT = Path(__file__).resolve().parent.parent
# Long enough to be killed between the first checkpoint and the end.
TRAIN = {"epochs": 6, "checkpoint_minutes": 0.0}


def make_shared_project(folder: Path) -> Path:
    """Draw a few birds, make MLflow's database, and return the folder; copy it for each test."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DCAL_WORK_ROOT", str(folder / "work"))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        make_tuning_project(folder, monkeypatch, **TRAIN)
        initialise_database()
    shutil.copytree(ROOT / "experiments" / "ablation", folder / "experiments" / "ablation")
    return folder


class Team:
    """Processes that work in one folder; all are gone at the end of the block."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self._url = url
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            kill(process)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `python -m` in a session of its own; what it says goes into a file."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DCAL_", "DVC_"))}
        environment = kept | {
            "DCAL_OPTUNA_URL": self._url,
            "DCAL_WORK_ROOT": str(self.folder / "work"),
            "PYTHONPATH": str(ROOT),
        }
        with (self.folder / f"{len(self._processes)}.log").open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self.folder,
                env=environment,
                start_new_session=True,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._processes.append(process)
        return process

    def kill_one_in_mid_training(self, candidates: Sequence[subprocess.Popen[str]]) -> int:
        """Kill the first of some that has a checkpoint of a training; return its place."""
        places = {process.pid: place for place, process in enumerate(candidates)}

        def find() -> list[int]:
            assert all(p.poll() is None for p in candidates), self.read_logs()
            owners = self.folder.glob("work/checkpoints/*/owner.json")
            trainers = [read_pid(path) for path in owners if list(path.parent.glob("step-*"))]
            return [pid for pid in trainers if pid in places]

        pid = wait_for(find)[0]
        kill(candidates[places[pid]])
        return places[pid]

    def wait(self, processes: Sequence[subprocess.Popen[str]], seconds: float = 500) -> None:
        """Wait until some have ended well."""
        end = time.monotonic() + seconds
        for process in processes:
            assert process.wait(end - time.monotonic()) == 0, self.read_logs()

    def read_logs(self) -> str:
        """Return what all of them said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def list_runs(self, kind: str) -> list[Run]:
        """Return the runs of a kind in the MLflow that they share."""
        client = self.connect()
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(ids, f"tags.`dcal.kind` = '{kind}'", max_results=999))

    def connect(self) -> MlflowClient:
        """Return a client of that MLflow."""
        return MlflowClient(f"sqlite:///{self.folder / 'work' / 'mlflow.db'}")

    def list_steps(self, run: Run, key: str) -> list[int]:
        """Return the steps of a run's points."""
        return [point.step for point in self.connect().get_metric_history(run.info.run_id, key)]


def read_pid(path: Path) -> int:
    """Return the process of a folder of checkpoints."""
    try:
        owner: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):  # being written, or gone
        return -1
    return int(owner["pid"])


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and what it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Return what a condition gives once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found
