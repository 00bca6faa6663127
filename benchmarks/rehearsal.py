"""The pipeline at the full numbers of published sets, with tiny pictures.

    python -m benchmarks.rehearsal [--sets msmt17 cub] [--output results/benchmarks/rehearsal.json]

msmt17: 126,441 pictures of 4,101 persons in the official layout, fetched (in place) and prepared by
the stages themselves. cub: 11,788 pictures of 200 species through the whole pipeline, of which
training is one step. Both in a temporary clone of the project. Printed and written: seconds and
peak memory of each stage, beside those of merely reading the bytes of every picture, in one run.

A stage's memory is the resident set of it and its children at its highest, looked at every 50 ms.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.tiny_sets import write_cub, write_msmt17
from dcal.paths import write_json
from dcal.tracking.environment import describe_environment
from tests.project import STAGES, Project, clone

POLL_SECONDS = 0.05
MSMT17_PARAMETERS = ("preset=reid", "dataset=msmt17", "dataset.val_ratio=0")
# 0.96 of train is held out, so that what stays, 240 pictures of 200 species, is one batch.
CUB_PARAMETERS = (
    "preset=photos_64",
    "dataset=cub",
    "dataset.val_ratio=0.96",
    "train.epochs=1",
    "train.batch_size=128",
    "train.warmup_epochs=0",
    "evaluate.batch_size=256",
)


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    peak_mib: float


def main() -> None:
    """Rehearse, print a row a stage, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=REHEARSALS, default=list(REHEARSALS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    record: dict[str, Any] = {
        "command": "python -m benchmarks.rehearsal",
        "environment": describe_environment(device="cpu").model_dump(mode="json"),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sets:
            record[name] = REHEARSALS[name](Path(folder) / name)
            for stage, cost in record[name]["stages"].items():
                print(f"{name:8} {stage:10} {cost['seconds']:8.1f} s {cost['peak_mib']:8.0f} MiB")
    if arguments.output:
        write_json(arguments.output, record)


def rehearse_msmt17(folder: Path) -> dict[str, Any]:
    """Fetch and prepare MSMT17's numbers."""
    num_pictures = write_msmt17(folder / "set")
    project = _open_project(folder, *MSMT17_PARAMETERS)
    return _run(project, num_pictures, ["fetch", "prepare"])


def rehearse_cub(folder: Path) -> dict[str, Any]:
    """Run the whole pipeline on CUB's numbers for one step of training."""
    num_pictures = write_cub(folder / "set")
    project = _open_project(folder, *CUB_PARAMETERS)
    return _run(project, num_pictures, STAGES)


REHEARSALS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "msmt17": rehearse_msmt17,
    "cub": rehearse_cub,
}


def _open_project(folder: Path, *parameters: str) -> Project:
    project = clone(folder / "project")
    project.compose(*parameters, f"dataset.source={folder / 'set'}")
    return project


def _run(project: Project, num_pictures: int, stages: list[str]) -> dict[str, Any]:
    source = project.folder.parent / "set"
    costs = {"read": measure(lambda: _read_all(source))}
    for stage in stages:
        command = [sys.executable, "-m", f"pipelines.{stage}"]
        costs[stage] = measure(
            lambda command=command: subprocess.run(  # type: ignore[misc]
                command, cwd=project.folder, env=project.environment(), check=True,
                stdout=subprocess.DEVNULL,
            )
        )  # fmt: skip
    report = project.read_json(f"data/index/{source.parent.name}/report.json")
    return {
        "pictures": num_pictures,
        "indexed": sum(report["counts"].values()),
        "warnings": report["warnings"],
        "stages": {name: cost._asdict() for name, cost in costs.items()},
    }


def measure(run: Callable[[], object]) -> Cost:
    """Return the seconds of a call, and the peak of its child processes' memory."""
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(POLL_SECONDS):
            peak = max(peak, sum(map(_read_memory, psutil.Process().children(recursive=True))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        run()
    finally:
        seconds = time.perf_counter() - started
        done.set()
        watcher.join()
    return Cost(round(seconds, 2), round(peak / 2**20, 1))


def _read_memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended
        return 0


def _read_all(folder: Path) -> None:
    for path in folder.rglob("*.jpg"):
        path.read_bytes()


if __name__ == "__main__":
    main()
