"""Where the time of a training step goes: seconds by kind of operation, ours beside the others.

    python -m benchmarks.profile [--rounds 5] [--threads 2] [--job N]
        [--output results/benchmarks/profile.json]

All variants run in one process, in turn, each step under torch's profiler; an operation counts
with the time it takes itself. A column's last line is the sum, and `between` is what no
operation takes: Python, and what the profiler costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import describe_machine, prepare
from benchmarks.step import JOBS
from benchmarks.variants import Job, Variant, build_variant
from dcal.paths import write_json

# DeiT-Tiny at 448 on a CPU, ViT-Base at 448 in bf16 on a GPU.
PROFILED = {"cpu": 1, "cuda": 22}
VARIANTS = ("plain", "class", "class_local", "explicit")
BETWEEN = "between"
# The first kind whose word is part of an operation's name.
KINDS = {
    "fused attention": ("scaled_dot_product", "_flash_attention", "_efficient_attention"),
    "linear layers": ("addmm", "::mm", "convolution"),
    "products of attention": ("bmm",),
    "softmax": ("softmax",),
    "norms": ("layer_norm",),
    "activation": ("gelu",),
    "optimiser": ("adamw", "optimizer"),
    "copies": ("copy_", "::cat", "fill_", "zero_", "index", "gather", "scatter", "::empty"),
    "sums and scales": ("::add", "::sub", "::mul", "::div", "::sum", "::mean", "::exp"),
}
REST = "all other operations"


def main() -> None:
    """Profile, print the table, write JSON."""
    arguments = _parse_arguments()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler tells when it starts
    device = prepare(arguments.threads)
    job = JOBS[device][PROFILED[device] if arguments.job is None else arguments.job]
    machine = describe_machine(device, arguments.threads)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    seconds = profile_job(job, device, arguments.rounds)
    write_json(arguments.output, {"machine": machine, **job._asdict(), "seconds": seconds})
    print(format_profile(job, seconds))


def profile_job(job: Job, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the seconds of a step by variant and kind: the median over rounds of each kind."""
    variants = [build_variant(name, job, device=device) for name in VARIANTS]
    rows: dict[str, list[Mapping[str, float]]] = {variant.name: [] for variant in variants}
    for variant in variants:
        variant.train_step()
    for _ in range(rounds):
        for variant in variants:
            rows[variant.name].append(_profile_step(variant, device))
    kinds = [*KINDS, REST, BETWEEN]
    return {
        name: {kind: statistics.median(row.get(kind, 0.0) for row in found) for kind in kinds}
        for name, found in rows.items()
    }


def _profile_step(variant: Variant, device: str) -> Mapping[str, float]:
    is_cuda = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with profile(activities=activities) as recorded:
        started = time.perf_counter()
        variant.train_step()
        if is_cuda:
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - started
    found: defaultdict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # a kernel, whose time its operation has
        microseconds = event.self_device_time_total if is_cuda else event.self_cpu_time_total
        found[find_kind(event.key)] += microseconds / 1e6
    found[BETWEEN] = max(0.0, elapsed - sum(found.values()))
    return found


def find_kind(operation: str) -> str:
    """Return the kind of an operation by its name in torch."""
    name = operation.lower()
    return next((kind for kind, words in KINDS.items() if any(w in name for w in words)), REST)


def format_profile(job: Job, seconds: dict[str, dict[str, float]]) -> str:
    """Return the table: a line a kind, a column a variant."""
    lines = [f"\n{job.describe()}", f"{'seconds of a training step':28}"]
    lines[-1] += "".join(f"{name:>12}" for name in seconds)
    kinds = list(next(iter(seconds.values())))
    for kind in kinds:
        lines.append(f"{kind:28}" + "".join(f"{row[kind]:12.3f}" for row in seconds.values()))
    sums: dict[str, Any] = {name: sum(row.values()) for name, row in seconds.items()}
    lines.append(f"{'all':28}" + "".join(f"{each:12.3f}" for each in sums.values()))
    return "\n".join(lines)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--job", type=int, help="of the grid of benchmarks.step")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/profile.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
