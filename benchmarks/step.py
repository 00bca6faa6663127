"""What a training step and an inference pass of DCAL cost beside plain timm.

    python -m benchmarks.step [--rounds 7] [--threads 2] [--compiled] [--default-malloc]
        [--jobs 0 1 ...] [--output results/benchmarks/step.json]

All variants of a job (`benchmarks/variants.py`) run in one process, in turn, round by round: a
machine that slows down slows all of them. A line has

    s         median seconds
    x plain   the ratio to plain timm: the median over rounds of the ratio within a round, and its
              least and most
    floor     that ratio by arithmetic: the multiply-accumulates of the method when nothing is
              computed twice, which `recomputed` does for memory's sake and `explicit` by its form
    predicted seconds by the rule of `dcal info --cost`, over the seconds measured
    MiB       the peak of a process of its own above what its imports take (on a GPU, of all
              tensors)
    predicted MiB by that rule, over the MiB measured
    x floor   the seconds over those that the multiply-accumulates would take at the rate of one
              large matrix product, measured in the same process
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import (
    compare,
    describe_machine,
    measure_matrix_rate,
    prepare,
    read_peak,
    take_turns,
)
from benchmarks.variants import COUNTED, VARIANT_NAMES, Job, Variant, build_variant, count_work
from dcal.costs.prediction import count_process_bytes
from dcal.costs.rates import Rates, measure_rates, predict_seconds, take_faster
from dcal.paths import write_json

JOBS = {
    "cpu": (
        Job("deit_tiny_patch16_224", (224, 224), 8),
        Job("deit_tiny_patch16_224", (448, 448), 4),
        Job("deit_small_patch16_224", (224, 224), 4),
        Job("vit_base_patch16_224", (256, 128), 4),
    ),
    "cuda": tuple(
        Job(backbone, size, batch, precision, is_compiled)
        for backbone, size, batch in (
            ("deit_tiny_patch16_224", (224, 224), 256),
            ("deit_tiny_patch16_224", (448, 448), 64),
            ("deit_small_patch16_224", (224, 224), 256),
            ("vit_base_patch16_224", (256, 128), 64),
            ("vit_base_patch16_224", (256, 256), 64),
            ("vit_base_patch16_224", (448, 448), 16),
            ("vit_base_patch16_224", (448, 448), 64),
        )
        for precision in ("fp32", "bf16")
        for is_compiled in (False, True)
    ),
}
OUTPUT = Path("results/benchmarks/step.json")
WHATS = ("train", "infer")
TURNS = {"train": 1, "infer": 4}  # times `--rounds`: a pass is short, and its ratio scatters more


def main() -> None:
    """Measure, print tables, write JSON."""
    arguments = _parse_arguments()
    if arguments.memory_of:
        name, text = arguments.memory_of
        print(_measure_own_memory(name, Job(**json.loads(text)), arguments.threads))
        return
    if arguments.job is not None:
        job = Job(**json.loads(arguments.job))
        device = prepare(arguments.threads, keeps_freed=job.keeps_freed)
        print(json.dumps(measure_job(job, device, arguments.rounds)))
        return
    measure_jobs(arguments, prepare(arguments.threads))


def measure_jobs(arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """Measure each job in a process of its own; print its table, and write what there is so far.

    A job that fails, such as for want of memory, is told and left out. Without `--output` the file
    is that of the whole grid, and a part of it or another way to run it writes none.
    """
    is_whole = arguments.jobs is None and not (arguments.compiled or arguments.default_malloc)
    output = arguments.output or (OUTPUT if is_whole else None)
    record: dict[str, Any] = {"machine": describe_machine(device, arguments.threads), "rows": []}
    print(", ".join(f"{key} {value}" for key, value in record["machine"].items()))
    for number in range(len(JOBS[device])) if arguments.jobs is None else arguments.jobs:
        job = JOBS[device][number]
        job = job._replace(
            is_compiled=job.is_compiled or arguments.compiled,
            keeps_freed=not arguments.default_malloc,
        )
        command = ["--job", json.dumps(job._asdict()), "--rounds", str(arguments.rounds)]
        try:
            rows: list[dict[str, Any]] = json.loads(_run_self(*command, threads=arguments.threads))
            for row in rows:
                row["memory_mib"] = measure_memory(row["variant"], job, arguments.threads)
                if "predicted_mib" in row:
                    row["memory_predicted"] = row["predicted_mib"] / row["memory_mib"]
        except subprocess.CalledProcessError as error:
            record["failed"] = [*record.get("failed", []), job.describe()]
            print(f"\n{job.describe()}: failed with status {error.returncode}", flush=True)
            continue
        record["rows"] += rows
        print(format_job(rows), flush=True)
        if output is not None:
            write_json(output, record)
    return record


def measure_job(job: Job, device: str, rounds: int) -> list[dict[str, Any]]:
    """Return a row a variant, plain timm first.

    How fast the machine is, is measured before and after, and the faster counts.
    """
    variants = _build_variants(job, device)
    names = [variant.name for variant in variants]
    before = _measure_machine(job, variants[0], device)
    rows: list[dict[str, Any]] = [
        {**job._asdict(), "variant": variant.name} for variant in variants
    ]
    for what in WHATS:
        functions = [v.train_step if what == "train" else v.infer for v in variants]
        seconds = take_turns(functions, device, TURNS[what] * rounds)
        for row, times in zip(rows, seconds, strict=True):
            row |= {f"{what}_{key}": value for key, value in compare(times, seconds[0]).items()}
            if "class" in names:
                of_class = seconds[names.index("class")]
                row[f"{what}_over_class"] = compare(times, of_class)["ratio"]
    after = _measure_machine(job, variants[0], device)
    matrix_rate = max(before[0], after[0])
    for row, variant in zip(rows, variants, strict=True):
        row |= _reckon(row, variant, variants[0], matrix_rate)
        row |= _predict(row, job, take_faster(before[1], after[1]), device)
    return rows


def _build_variants(job: Job, device: str) -> list[Variant]:
    """Return the variants that fit into the memory of a GPU beside each other."""
    variants: list[Variant] = []
    for name in VARIANT_NAMES:
        try:
            variant = build_variant(name, job, device=device)
            variant.train_step()
        except torch.OutOfMemoryError:
            print(f"{job.describe()}: {name} does not fit and is left out", file=sys.stderr)
            torch.cuda.empty_cache()
            continue
        variants.append(variant)
    return variants


def _measure_machine(job: Job, plain: Variant, device: str) -> tuple[float, Rates]:
    is_half = job.precision == "bf16"
    rates = measure_rates(plain.shape, device=device, autocast=is_half)
    return measure_matrix_rate(device, torch.bfloat16 if is_half else torch.float32), rates


def _reckon(
    row: dict[str, Any], variant: Variant, plain: Variant, matrix_rate: float
) -> dict[str, float]:
    """Return what the arithmetic demands."""
    found = {"matrix_gmacs_per_second": matrix_rate / 1e9}
    for what in WHATS:
        macs, plain_macs = (getattr(each, f"{what}_macs") for each in (variant, plain))
        least = macs * row["batch_size"] / matrix_rate
        found[f"{what}_floor"] = macs / plain_macs
        found[f"{what}_gmacs"] = macs * row["batch_size"] / 1e9
        found[f"{what}_over_floor"] = row[f"{what}_seconds"] / least
    return found


def _predict(row: dict[str, Any], job: Job, rates: Rates, device: str) -> dict[str, float]:
    # What the compiler fuses is not modelled.
    if row["variant"] not in COUNTED or job.is_compiled:
        return {}
    work = count_work(row["variant"], job, device=device)
    own = count_process_bytes(device, spares_memory=row["variant"] == "recomputed")
    found = {"predicted_mib": (work.training.peak_bytes + own) / 2**20}
    for what, part in zip(WHATS, (work.training, work.inference), strict=True):
        predicted = sum(predict_seconds(part, rates).values())
        found[f"{what}_predicted"] = predicted / row[f"{what}_seconds"]
    return found


def measure_memory(variant: str, job: Job, threads: int) -> float:
    """Return the peak MiB of a process that trains for two steps, above its imports."""
    return float(_run_self("--memory-of", variant, json.dumps(job._asdict()), threads=threads))


def _measure_own_memory(variant: str, job: Job, threads: int) -> float:
    device = prepare(threads, keeps_freed=job.keeps_freed)
    imported = read_peak(device)
    built = build_variant(variant, job, device=device)
    for _ in range(2):
        built.train_step()
    return (read_peak(device) - imported) / 2**20


def _run_self(*arguments: str, threads: int) -> str:
    command = [sys.executable, "-m", "benchmarks.step", *arguments, "--threads", str(threads)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return finished.stdout.strip().splitlines()[-1]


def format_job(rows: list[dict[str, Any]]) -> str:
    """Return a job's table."""
    fields = {key: rows[0][key] for key in Job._fields}
    lines = [f"\n{Job(**fields).describe()}"]
    for what, title in zip(WHATS, ("training step", "inference"), strict=True):
        lines.append(
            f"{title:14}{'s':>8} {'x plain':>8} {'range':>12} {'floor':>6} {'predicted':>10}"
            f" {'MiB' if what == 'train' else '':>6} {'predicted' if what == 'train' else '':>10}"
            f" {'x floor':>8}"
        )
        lines += [_format_row(row, what) for row in rows]
    return "\n".join(lines)


def _format_row(row: dict[str, Any], what: str) -> str:
    spread = f"{row[f'{what}_ratio_min']:.2f}-{row[f'{what}_ratio_max']:.2f}"
    predicted = row.get(f"{what}_predicted")
    memory = f"{row['memory_mib']:6.0f}" if what == "train" else ""
    kept = row.get("memory_predicted") if what == "train" else None
    return (
        f"{row['variant']:14}{row[f'{what}_seconds']:8.3f} {row[f'{what}_ratio']:8.2f}"
        f" {spread:>12} {row[f'{what}_floor']:6.2f}"
        f" {'' if predicted is None else f'{predicted:.2f}':>10} {memory:>6}"
        f" {'' if kept is None else f'{kept:.2f}':>10}"
        f" {row[f'{what}_over_floor']:8.2f}"
    )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--compiled", action="store_true", help="compile all but explicit")
    parser.add_argument("--default-malloc", action="store_true", help="do not keep freed memory")
    parser.add_argument("--jobs", type=int, nargs="+", help="of the grid; default: all")
    parser.add_argument("--output", type=Path, help=f"JSON; of the whole grid: {OUTPUT}")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds: expected at least 1; got {arguments.rounds}")
    jobs = len(JOBS["cuda" if torch.cuda.is_available() else "cpu"])
    if any(not 0 <= number < jobs for number in arguments.jobs or ()):
        parser.error(f"--jobs: expected 0 to {jobs - 1}; got {arguments.jobs}")
    return arguments


if __name__ == "__main__":
    main()
