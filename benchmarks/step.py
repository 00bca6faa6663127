"""What a training step and an inference pass of DCAL cost beside plain timm.

    python -m benchmarks.step [--rounds 7] [--threads 2] [--output results/benchmarks/step.json]

All variants of a job run in one process, in turn, round by round: a machine that slows down slows
all of them. Printed are medians, the ratio to plain timm (the median over rounds of the ratio
within a round), and that ratio's analytic floor: the multiply-accumulates that the variant needs,
for `explicit` those of the method done without waste. Memory is the peak of a
process of its own per variant, above what its imports take.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch

from benchmarks.variants import VARIANT_NAMES, Job, Variant, build_variant

JOBS = (
    Job("deit_tiny_patch16_224", (224, 224), 8),
    Job("deit_tiny_patch16_224", (448, 448), 4),
)


def main() -> None:
    """Measure, print a table, write JSON."""
    arguments = _parse_arguments()
    if arguments.memory_of:
        _print_peak_memory(*arguments.memory_of)
        return
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for number, job in enumerate(JOBS):
        rows += _measure_job(job, device, arguments.rounds)
        for row in rows[-len(VARIANT_NAMES) :]:
            row["memory_mib"] = _measure_memory(row["variant"], number, arguments.threads)
    record = {"machine": _describe_machine(device, arguments.threads), "rows": rows}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(_format_table(record))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/step.json"))
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure_job(job: Job, device: str, rounds: int) -> list[dict[str, Any]]:
    variants = [build_variant(name, job, device=device) for name in VARIANT_NAMES]
    train = _interleave([variant.train_step for variant in variants], device, rounds)
    infer = _interleave([variant.infer for variant in variants], device, rounds)
    plain = variants[0]
    return [
        {
            "backbone": job.backbone,
            "image_size": list(job.image_size),
            "batch_size": job.batch_size,
            "variant": variant.name,
            **_summarise("train", train[i], train[0], variant.train_macs / plain.train_macs),
            **_summarise("infer", infer[i], infer[0], variant.infer_macs / plain.infer_macs),
            "train_gmacs": variant.train_macs * job.batch_size / 1e9,
            "infer_gmacs": variant.infer_macs * job.batch_size / 1e9,
        }
        for i, variant in enumerate(variants)
    ]


def _interleave(functions: list[Callable[[], None]], device: str, rounds: int) -> list[list[float]]:
    """Return the seconds of each function by round; the first round warms up and is dropped."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds + 1):
        for times, function in zip(seconds, functions, strict=True):
            started = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    return [times[1:] for times in seconds]


def _summarise(what: str, times: list[float], plain: list[float], floor: float) -> dict[str, float]:
    ratios = [ours / theirs for ours, theirs in zip(times, plain, strict=True)]
    return {
        f"{what}_seconds": statistics.median(times),
        f"{what}_ratio": statistics.median(ratios),
        f"{what}_ratio_min": min(ratios),
        f"{what}_ratio_max": max(ratios),
        f"{what}_floor": floor,
    }


def _measure_memory(variant: str, job_number: int, threads: int) -> float:
    command = [sys.executable, "-m", "benchmarks.step", "--memory-of"]
    finished = subprocess.run(
        [*command, variant, str(job_number), str(threads)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(finished.stdout.strip().splitlines()[-1])


def _print_peak_memory(variant: str, job_number: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    imported = _read_peak(device)
    built: Variant = build_variant(variant, JOBS[int(job_number)], device=device)
    for _ in range(2):
        built.train_step()
    print((_read_peak(device) - imported) / 2**20)


def _read_peak(device: str) -> float:
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    # Not getrusage: its peak survives exec, so a child would start with its parent's.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return float(peak.split()[1]) * 1024


def _describe_machine(device: str, threads: int) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else _read_cpu_name()
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": threads,
        "precision": "fp32",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def _read_cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "CPU")


def _format_table(record: dict[str, Any]) -> str:
    lines = [", ".join(f"{key} {value}" for key, value in record["machine"].items())]
    for row in record["rows"]:
        if row["variant"] == VARIANT_NAMES[0]:
            height, width = row["image_size"]
            lines += [
                "",
                f"{row['backbone']}, {height} x {width}, batch {row['batch_size']}",
                f"{'':12} {'train s':>8} {'ratio':>6} {'range':>12} {'floor':>6}"
                f" {'infer s':>8} {'ratio':>6} {'range':>12} {'floor':>6} {'MiB':>6}",
            ]
        lines.append(
            f"{row['variant']:12}"
            + _format(row, "train")
            + _format(row, "infer")
            + f" {row['memory_mib']:6.0f}"
        )
    return "\n".join(lines)


def _format(row: dict[str, Any], what: str) -> str:
    spread = f"{row[f'{what}_ratio_min']:.2f}-{row[f'{what}_ratio_max']:.2f}"
    return (
        f" {row[f'{what}_seconds']:8.3f} {row[f'{what}_ratio']:6.2f} {spread:>12}"
        f" {row[f'{what}_floor']:6.2f}"
    )


if __name__ == "__main__":
    main()
