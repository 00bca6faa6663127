"""What tracking costs a training step: with a database, and with a server well, dead or ill.

    python -m benchmarks.tracking [--steps 400] [--output results/benchmarks/tracking.json]

A real training step (the model of params.yaml, all branches, 4 pictures) runs alone and with 15
values logged every 5 steps, the default of birds, in turn. Printed are, in ms a step: `caller`, the
time that `log_metrics` takes of the training thread, and `sender`, the processor time of the thread
that sends, all of which the step loses at worst, where the two share Python's lock. `bound` is
their sum as a share of a step of 50 ms. `measured` is how much longer the median step was beside
the steps alone just before and after; where it is smaller than `noise`, by how much those two
differ, it says nothing. The thread's first second, which imports MLflow, is counted apart: it comes
once a run.
"""

from __future__ import annotations

import os

# Idle OpenMP threads that spin starve the sender; torch reads this once, when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import torch
from torch.nn import functional as F

from benchmarks.machine import describe_machine
from dcal.attention.pairing import draw_pairing
from dcal.config import Config, load_config
from dcal.models import build_model
from dcal.paths import write_json
from dcal.tracking import describe_environment, start_run
from dcal.tracking.tracker import SpooledTracker

BATCH_SIZE = 4
NUM_CLASSES = 24
LOG_EVERY = 5
NUM_KEYS = 15
REFERENCE_STEP_MS = 50.0
BAR_PERCENT = 1.0
WARM_UP_SECONDS = 60.0
SERVERS = ("sqlite", "live server", "dead server", "hanging server", "status 500")
# Serves in a process of its own: its threads would take the lock of this one.
PROXY = """
import sys
from tests.tracking.proxy import FaultProxy
proxy = FaultProxy("http://127.0.0.1:9", hang_seconds=60)
proxy.choose = lambda: sys.argv[1]
print(proxy.url, flush=True)
sys.stdin.read()
"""


def main() -> None:
    """Measure, print a table, write JSON."""
    arguments = _parse_arguments()
    logging.getLogger("dcal").setLevel(logging.ERROR)
    torch.set_num_threads(arguments.threads)
    config = load_config(arguments.params)
    step = build_step(config)
    rows: list[dict[str, Any]] = []
    for server in SERVERS:
        with TemporaryDirectory() as folder, run_server(server, Path(folder)) as uri:
            os.environ |= {"DCAL_WORK_ROOT": folder, "MLFLOW_TRACKING_URI": uri}
            rows.append({"server": server, **measure(step, config, num_steps=arguments.steps)})
        print(_format_row(rows[-1]), flush=True)
    machine = describe_machine("cpu", arguments.threads) | {"mlflow": metadata.version("mlflow")}
    record: dict[str, Any] = {"machine": machine, "log_every": LOG_EVERY, "num_keys": NUM_KEYS}
    record |= {"reference_step_ms": REFERENCE_STEP_MS, "batch_size": BATCH_SIZE, "rows": rows}
    write_json(arguments.output, record)
    worst = max(float(row["bound_percent"]) for row in rows)
    print(f"at worst {worst:.2f} % of {REFERENCE_STEP_MS:g} ms; the bar is {BAR_PERCENT:g} %")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/tracking.json"))
    return parser.parse_args()


def build_step(config: Config) -> Callable[[], None]:
    """Return a training step of the model of params.yaml on random pictures."""
    torch.manual_seed(0)
    model = build_model(config.model, num_classes=NUM_CLASSES).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    images = torch.randn(BATCH_SIZE, 3, *config.model.image_size)
    labels = torch.arange(BATCH_SIZE) % NUM_CLASSES
    pairing = draw_pairing(BATCH_SIZE, seed=0, step=0)

    def step() -> None:
        output = model(images, distractor_indices=pairing)
        logits = (output.sa_logits, output.glca_logits, output.pwca_logits)
        loss = torch.stack([F.cross_entropy(scores, labels) for scores in logits]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(step: Callable[[], None], config: Config, *, num_steps: int) -> dict[str, float]:
    """Take steps alone, with tracking, and alone again."""
    before, _ = take_steps(step, num_steps // 2, log=None)
    tracker, sender_cpu = open_tracker(config)
    start_seconds = sender_cpu()
    tracked, calls = take_steps(step, num_steps, log=tracker)
    # Whoever answers gets every point, so that each has its share of what was sent.
    tracker.close(patience=30 if tracker.run_id else 0)
    sender_seconds = sender_cpu() - start_seconds
    after, _ = take_steps(step, num_steps // 2, log=None)
    alone = statistics.median(before + after)
    caller_ms, sender_ms = sum(calls) / num_steps * 1e3, sender_seconds / num_steps * 1e3
    return {
        "step_ms": alone * 1e3,
        "log_ms": statistics.mean(calls) * 1e3,
        "log_ms_longest": max(calls) * 1e3,
        "caller_ms": caller_ms,
        "sender_ms": sender_ms,
        "bound_percent": 100 * (caller_ms + sender_ms) / REFERENCE_STEP_MS,
        "measured_percent": 100 * (statistics.median(tracked) / alone - 1),
        "noise_percent": 100 * abs(statistics.median(before) - statistics.median(after)) / alone,
        "start_cpu_seconds": start_seconds,
    }


def open_tracker(config: Config) -> tuple[SpooledTracker, Callable[[], float]]:
    """Start a run and wait until MLflow is imported and has been asked once."""
    tracker = start_run(
        config,
        environment=describe_environment(device="cpu"),
        fingerprint="benchmark",
        data_digest="benchmark",
        run_key=uuid4().hex,
        started=datetime.now(UTC),
    )
    assert isinstance(tracker, SpooledTracker)
    sender, end = tracker._sender, time.monotonic() + WARM_UP_SECONDS
    while not (sender.spool.is_delivered() or sender._has_warned) and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    return tracker, lambda: sender.cpu_seconds


def take_steps(
    step: Callable[[], None], count: int, *, log: SpooledTracker | None
) -> tuple[list[float], list[float]]:
    """Return the seconds of each step, and of each call of `log_metrics` in them."""
    steps, calls = [], []
    for number in range(count):
        begun = time.perf_counter()
        step()
        if log is not None and number % LOG_EVERY == 0:
            values = {f"train/key_{i}": number + 1 / (i + 1) for i in range(NUM_KEYS)}
            called = time.perf_counter()
            log.log_metrics(values, number)
            calls.append(time.perf_counter() - called)
        steps.append(time.perf_counter() - begun)
    return steps, calls


@contextmanager
def run_server(name: str, folder: Path) -> Iterator[str]:
    """Yield the address of a database or of a server that is as its name says."""
    from tests.tracking.server import Server

    with ExitStack() as stack:
        if name == "sqlite":
            yield f"sqlite:///{folder / 'mlflow.db'}"
        elif name == "live server":
            server = Server(folder)
            stack.callback(server.stop)
            server.start()
            yield server.url
        elif name == "dead server":
            yield "http://127.0.0.1:9"
        else:
            fault = {"hanging server": "hang", "status 500": "error"}[name]
            yield stack.enter_context(_run_proxy(fault))


@contextmanager
def _run_proxy(fault: str) -> Iterator[str]:
    command = [sys.executable, "-c", PROXY, fault]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _format_row(row: dict[str, Any]) -> str:
    return (
        f"{row['server']:15} step {row['step_ms']:6.1f} ms   log_metrics {row['log_ms']:5.2f} ms"
        f"   caller {row['caller_ms']:5.3f} ms   sender {row['sender_ms']:5.3f} ms"
        f"   bound {row['bound_percent']:4.2f} %"
        f"   measured {row['measured_percent']:+5.1f} %   noise {row['noise_percent']:4.1f} %"
    )


if __name__ == "__main__":
    main()
