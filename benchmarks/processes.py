"""What two processes cost beside one on the same cores, and what each layer takes to start.

    python -m benchmarks.processes [--rounds 3] [--steps 12]
                                   [--output results/benchmarks/processes.json]

Training steps of params.yaml, as the train stage takes them (Lightning, all branches, the vote of
each step), on random pictures held in memory; in turn, medians of rounds:

one     one process with two threads, the whole batch
two     two processes with one thread each, half of the batch each: DDP over gloo
apart   the same two halves at once, but nothing is exchanged: `two` less DDP
half    one process with one thread and half of the batch, the other core idle: the floor

`two` over `one` is what DDP costs on these cores, `two` over `apart` what the exchange does. Starts
are of processes that end at once: the interpreter, the imports of the stage, torch's launcher with
nothing to run, and the launcher with two processes that import the stage and join.
"""

from __future__ import annotations

import os

# Idle OpenMP threads that spin starve the other process; torch reads this once.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import logging
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from torch import Tensor, multiprocessing
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import describe_machine
from dcal.collectives import get_rank, get_world_size
from dcal.config import Config, load_config
from dcal.data.datamodule import Loaders, collate
from dcal.data.samplers import EpochBatchSampler
from dcal.models import build_model
from dcal.paths import write_json
from dcal.training.checkpoints import CheckpointFolder
from dcal.training.fit import Outlets, fit
from dcal.training.processes import Place, join
from dcal.training.runtime import resolve_runtime

NUM_CLASSES = 24
WINDOW = 4  # steps between two clock readings; the first window warms up
LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
STARTS: dict[str, tuple[str, ...]] = {
    "interpreter": (sys.executable, "-c", "pass"),
    "imports of stage train": (sys.executable, "-c", "import pipelines.train"),
    "torchrun of nothing": (*LAUNCHER, "--no-python", "true"),
    "torchrun, imports, group": (*LAUNCHER, "-m", "benchmarks.processes", "--join"),
}


def main() -> None:
    """Measure, print a table, write JSON."""
    arguments = _parse_arguments()
    if arguments.join:
        join_and_leave(load_config(arguments.params))
        return
    config = load_config(arguments.params)
    seconds = measure_steps(config, rounds=arguments.rounds, num_steps=arguments.steps)
    starts = measure_starts(arguments.starts)
    record = {
        "machine": describe_machine("cpu", 2),
        "batch_size": config.train.batch_size,
        "steps": summarise(seconds),
        "start_seconds": {name: statistics.median(times) for name, times in starts.items()},
    }
    write_json(arguments.output, record)
    print(format_record(record))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3 * WINDOW, help="of each arm in a round")
    parser.add_argument("--starts", type=int, default=2, help="of each command")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/processes.json"))
    parser.add_argument("--join", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class RandomPictures(Dataset[dict[str, Any]]):
    """Pictures of noise, drawn once: loading is not what is measured."""

    def __init__(self, num_images: int, image_size: tuple[int, int]) -> None:
        self.images = torch.randn(num_images, 3, *image_size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        _, index = key
        return {"image": self.images[index], "label": index % NUM_CLASSES, "row": index}


def take_steps(config: Config, *, num_steps: int, folder: Path) -> float:
    """Train for a few steps in this process, one of a group or alone; return seconds a step."""
    size, processes = config.train.batch_size, get_world_size()
    sampler = EpochBatchSampler(
        size * num_steps,
        batch_size=size,
        seed=0,
        shuffle=True,
        rank=get_rank(),
        world_size=processes,
    )
    pictures = RandomPictures(size * num_steps, config.model.image_size)
    loader: DataLoader[dict[str, Tensor]] = DataLoader(
        pictures, batch_sampler=sampler, collate_fn=collate, generator=torch.Generator()
    )
    told: list[float] = []

    def note(values: dict[str, float], step: int) -> None:
        told.append(size / values["train/images_per_second"])

    loaders = Loaders(train=loader, val=None, test=loader, table=pd.DataFrame())
    outlets = Outlets(folder / "history.csv", note, CheckpointFolder(folder / "checkpoints"))
    model = build_model(config.model, num_classes=NUM_CLASSES)
    fit(model, config, loaders, runtime=resolve_runtime(config.train), outlets=outlets)
    return statistics.median(told[1:]) if told else 0.0  # only the first process is told


def make_config(config: Config, *, batch_size: int, processes: int) -> Config:
    """Return the config of an arm: a CPU, one short epoch, no scores, a checkpoint at its end."""
    changes = {"batch_size": batch_size, "processes": processes, "epochs": 1, "devices": "cpu"}
    changes |= {"images_per_identity": None, "warmup_epochs": 0.0, "selection": "last"}
    changes |= {"log_every": WINDOW, "checkpoint_minutes": 60.0, "accumulate_steps": 1}
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


class Worker:
    """A process that takes steps when it is told to; with a port, one of a group of two."""

    def __init__(self, rank: int = 0, port: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, rank, port), daemon=True)
        self._process.start()

    def begin(self, config: Config, *, threads: int, num_steps: int) -> None:
        """Let it begin."""
        self._line.send((config, threads, num_steps))

    def end(self) -> float:
        """Wait for it, and return the seconds of its steps."""
        seconds: float = self._line.recv()
        return seconds

    def close(self) -> None:
        """Let it leave."""
        self._line.send(None)
        self._process.join()


def _serve(line: Connection, rank: int, port: int | None) -> None:
    logging.getLogger("dcal").setLevel(logging.ERROR)
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    size = 1 if port is None else 2
    with join(
        Place(rank, size, rank, size), load_config().train.model_copy(update={"devices": "cpu"})
    ):
        while (job := line.recv()) is not None:
            config, threads, num_steps = job
            torch.set_num_threads(threads)
            with TemporaryDirectory() as folder:
                line.send(take_steps(config, num_steps=num_steps, folder=Path(folder)))


def measure_steps(config: Config, *, rounds: int, num_steps: int) -> dict[str, list[float]]:
    """Return the seconds of a step by arm and round; the arms run in turn."""
    size = config.train.batch_size
    whole = make_config(config, batch_size=size, processes=1)
    half = make_config(config, batch_size=size // 2, processes=1)
    shared = make_config(config, batch_size=size, processes=2)
    port = _find_port()
    pair = [Worker(rank, port) for rank in (0, 1)]
    apart = [Worker() for _ in (0, 1)]
    arms: dict[str, tuple[list[Worker], Config, int]] = {
        "one": (apart[:1], whole, 2),
        "two": (pair, shared, 1),
        "apart": (apart, half, 1),
        "half": (apart[:1], half, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, (workers, arm, threads) in arms.items():
            for worker in workers:
                worker.begin(arm, threads=threads, num_steps=num_steps)
            # Of two that go their own ways the slower one counts.
            seconds[name].append(max([worker.end() for worker in workers]))
    for worker in (*pair, *apart):
        worker.close()
    return seconds


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def summarise(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return by arm the median seconds, and the medians of what `two` takes over it in a round."""
    return {
        name: {
            "seconds": statistics.median(times),
            "two_over_it": statistics.median(
                two / other for two, other in zip(seconds["two"], times, strict=True)
            ),
        }
        for name, times in seconds.items()
    }


def join_and_leave(config: Config) -> None:
    """Be a process of the train stage that has nothing to do."""
    import pipelines.train  # noqa: F401
    from dcal.training.processes import read_place

    train = config.train.model_copy(update={"devices": "cpu", "processes": 2})
    with join(read_place(train), train):
        torch.distributed.barrier()


def measure_starts(
    rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of each command; all run in turn."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, command in STARTS.items():
            started = clock()
            subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
            seconds[name].append(clock() - started)
    return seconds


def format_record(record: dict[str, Any]) -> str:
    """Return what a reader looks at."""
    lines = [
        f"{name:6} {row['seconds'] * 1e3:7.1f} ms a step   two takes {row['two_over_it']:.2f} of it"
        for name, row in record["steps"].items()
    ]
    lines += [f"{seconds:6.1f} s  {name}" for name, seconds in record["start_seconds"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
