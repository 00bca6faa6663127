"""The machine that a benchmark runs on: its name, versions, matrix rate and memory."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from dcal.processor import prepare_cpu

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}


def prepare(threads: int, *, keeps_freed: bool = True) -> str:
    """Set the process up as training does, and return the device."""
    torch.set_num_threads(threads)
    if keeps_freed:
        prepare_cpu()
    torch.set_flush_denormal(True)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        return "cuda"
    return "cpu"


def describe_machine(device: str, threads: int) -> dict[str, Any]:
    """Return what a figure depends on."""
    name = torch.cuda.get_device_name() if device == "cuda" else _read_cpu_name()
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": threads,
        "waiting": os.environ.get("OMP_WAIT_POLICY", "by spinning"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def measure_matrix_rate(device: str, dtype: torch.dtype, rounds: int = 5) -> float:
    """Return the multiply-accumulates a second of one large square product: the ceiling."""
    side = MATRIX_SIDE[device]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    (seconds,) = take_turns([lambda: left @ right], device, rounds)
    return side**3 / statistics.median(seconds)


def take_turns(
    functions: Sequence[Callable[[], object]], device: str, rounds: int, *, repeat: int = 1
) -> list[list[float]]:
    """Return the seconds of each function by round; the first round warms up and is dropped.

    All run in turn, so that a machine that slows down slows all of them. `repeat` calls make one
    measurement, where a single one is too short.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds + 1):
        for times, function in zip(seconds, functions, strict=True):
            started = time.perf_counter()
            for _ in range(repeat):
                function()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - started) / repeat)
    return [times[1:] for times in seconds]


def compare(times: list[float], plain: list[float]) -> dict[str, float]:
    """Return the median seconds, and the ratio to plain within a round: median, least, most."""
    ratios = [ours / theirs for ours, theirs in zip(times, plain, strict=True)]
    return {
        "seconds": statistics.median(times),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def read_peak(device: str) -> float:
    """Return the most bytes held so far, by this process or on its GPU."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    # Not getrusage: its peak survives exec, so a child would start with its parent's.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return float(peak.split()[1]) * 1024


def _read_cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "CPU")
