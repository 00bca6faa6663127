"""What a tracking server costs: its start, its memory, and a batch of points through it.

    python -m benchmarks.server [--rounds 3] [--output results/benchmarks/server.json]

`make server` is started on SQLite and, where it is installed, on PostgreSQL, each new; killed; and
started again a few times. Printed are the seconds until it answers, on the new database and on one
that has its tables (median), the memory of its processes, and the milliseconds of one call with 15
values, which is what a training's sender waits for (median, and the slowest of twenty).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.machine import describe_machine
from benchmarks.postgres import NoServer, run_postgres
from dcal.paths import write_json
from dcal.tracking.store import CLIENT_ENVIRONMENT
from tests.tracking.group import GroupServer

if TYPE_CHECKING:
    from mlflow import MlflowClient

NUM_KEYS = 15
DATABASES = ("sqlite", "postgresql")


def main() -> None:
    """Measure, print a row a database, write JSON."""
    arguments = _parse_arguments()
    os.environ |= CLIENT_ENVIRONMENT
    rows: list[dict[str, Any]] = []
    for name in DATABASES:
        try:
            with TemporaryDirectory() as folder, open_database(name, Path(folder)) as url:
                sizes = {"rounds": arguments.rounds, "num_batches": arguments.batches}
                rows.append({"database": name, **measure(Path(folder), url, **sizes)})
        except NoServer as error:
            print(f"{name}: left out ({error})")
            continue
        print(_format_row(rows[-1]), flush=True)
    machine = describe_machine("cpu", 1) | {"mlflow": metadata.version("mlflow")}
    write_json(arguments.output, {"machine": machine, "num_keys": NUM_KEYS, "rows": rows})


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="starts beside the first")
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/server.json"))
    return parser.parse_args()


@contextmanager
def open_database(name: str, folder: Path) -> Iterator[str]:
    """Yield the address of a database that has no tables."""
    if name == "postgresql":
        with run_postgres() as url:
            yield url
    else:
        yield f"sqlite:///{folder / 'server.db'}"


def measure(folder: Path, url: str, *, rounds: int, num_batches: int) -> dict[str, float]:
    """Start a server on a new database, ask it, and start it again."""
    from mlflow import MlflowClient

    server = GroupServer(folder, url)
    try:
        first = time_start(server)
        batches = time_batches(MlflowClient(server.url), num_batches)
        memory = measure_memory(server)
        starts = []
        for _ in range(rounds):
            server.stop()
            starts.append(time_start(server))
    finally:
        server.stop()
    return {
        "first_start_seconds": first,
        "start_seconds": statistics.median(starts),
        "memory_mb": memory,
        "batch_ms": statistics.median(batches) * 1e3,
        "batch_ms_slowest_of_20": statistics.quantiles(batches, n=20)[-1] * 1e3,
    }


def time_start(server: GroupServer) -> float:
    """Return the seconds until a server answers."""
    begun = time.perf_counter()
    server.start()
    return time.perf_counter() - begun


def time_batches(client: MlflowClient, count: int) -> list[float]:
    """Return the seconds of each call, of a step's values each."""
    from mlflow.entities import Metric

    run_id = client.create_run(client.create_experiment("benchmark")).info.run_id
    seconds = []
    for step in range(count):
        values = [Metric(f"train/key_{i}", step + 1 / (i + 1), 0, step) for i in range(NUM_KEYS)]
        begun = time.perf_counter()
        client.log_batch(run_id, metrics=values)
        seconds.append(time.perf_counter() - begun)
    return seconds


def measure_memory(server: GroupServer) -> float:
    """Return the megabytes that a server's processes hold."""
    parent = psutil.Process(server.pid)
    processes = [parent, *parent.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / 1e6


def _format_row(row: dict[str, Any]) -> str:
    return (
        f"{row['database']:11} first start {row['first_start_seconds']:5.1f} s"
        f"   start {row['start_seconds']:5.1f} s   memory {row['memory_mb']:4.0f} MB"
        f"   batch {row['batch_ms']:5.1f} ms, slow ones {row['batch_ms_slowest_of_20']:5.1f} ms"
    )


if __name__ == "__main__":
    main()
