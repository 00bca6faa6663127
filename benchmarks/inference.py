"""What a prediction costs: one picture at a time, many, by SA alone, and in half precision.

    python -m benchmarks.inference [--rounds 9] [--output results/benchmarks/inference.json]

All models of a batch size run in one process, in turn. `x plain` is the ratio to plain timm in
fp32 at the same batch size, the median over rounds of the ratio within a round. Of half precision
it is also said how far its class probabilities lie from those of fp32 on the same pictures, and
how many of the patches that GLCA chose are others. Weights are random, so these are worst cases:
nearly all scores are close to each other. `x floor` is as in `benchmarks.step`, at the rate of
its precision.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import (
    compare,
    describe_machine,
    measure_matrix_rate,
    prepare,
    take_turns,
)
from benchmarks.variants import Job, Variant, build_network, build_variant
from dcal.models.dcal import DCAL
from dcal.paths import write_json

NAMES = ("plain", "sa", "class", "class_local")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCHES = {"cpu": (1, 32), "cuda": (1, 256)}
MODELS = (("deit_tiny_patch16_224", (224, 224)), ("deit_tiny_patch16_224", (448, 448)))
MIN_SECONDS = 0.05  # of one measurement: a single picture takes less


def main() -> None:
    """Measure, print a table, write JSON."""
    arguments = _parse_arguments()
    device = prepare(arguments.threads)
    rates = {name: measure_matrix_rate(device, dtype) for name, dtype in PRECISIONS.items()}
    record: dict[str, Any] = {"machine": describe_machine(device, arguments.threads), "rows": []}
    for backbone, size in MODELS:
        for batch in BATCHES[device]:
            rows = measure(Job(backbone, size, batch), device, arguments.rounds, rates)
            record["rows"] += rows
            print(format_rows(rows), flush=True)
    write_json(arguments.output, record)


def measure(job: Job, device: str, rounds: int, rates: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row a model and precision; plain timm in fp32 comes first."""
    keys = [(name, precision) for precision in PRECISIONS for name in NAMES]
    variants = [
        build_variant(name, job._replace(precision=precision), device=device)
        for name, precision in keys
    ]
    repeat = _choose_repeat(variants[0], device)
    seconds = take_turns([variant.infer for variant in variants], device, rounds, repeat=repeat)
    rows = []
    for (name, precision), variant, times in zip(keys, variants, seconds, strict=True):
        found = compare(times, seconds[0])
        least = variant.infer_macs * job.batch_size / rates[precision]
        rows.append(
            {
                **job._replace(precision=precision)._asdict(),
                "variant": name,
                **found,
                "images_per_second": job.batch_size / found["seconds"],
                "over_floor": found["seconds"] / least,
                **(measure_halving(name, job, device) if precision == "bf16" else {}),
            }
        )
    return rows


def _choose_repeat(variant: Variant, device: str) -> int:
    ((seconds,),) = take_turns([variant.infer], device, 1)
    return max(1, round(MIN_SECONDS / seconds))


@torch.inference_mode()
def measure_halving(name: str, job: Job, device: str) -> dict[str, float]:
    """Return what bf16 changes: probabilities at most, and the share of other chosen patches."""
    torch.manual_seed(0)
    model = build_network(name, job).to(device).eval()
    images = torch.randn(max(8, job.batch_size), 3, *job.image_size, device=device)
    exact = model(images)
    with torch.autocast(device, dtype=torch.bfloat16):
        halved = model(images)
    if not isinstance(model, DCAL):
        return {"probability_difference": _compare_logits(exact, halved)}
    found = {"probability_difference": _compare_logits(exact.sa_logits, halved.sa_logits)}
    if exact.local_indices is not None:
        kept = (exact.local_indices[:, :, None] == halved.local_indices[:, None]).any(dim=2)
        found["flipped_share"] = 1 - float(kept.float().mean())
    return found


def _compare_logits(exact: torch.Tensor, halved: torch.Tensor) -> float:
    return float((exact.softmax(dim=1) - halved.float().softmax(dim=1)).abs().max())


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Return the table of a batch size."""
    height, width = rows[0]["image_size"]
    lines = [
        f"\n{rows[0]['backbone']}, {height} x {width}, batch {rows[0]['batch_size']}",
        f"{'':20}{'ms':>9} {'images/s':>9} {'x plain':>8} {'range':>12} {'off':>8} {'flips':>7}"
        f" {'x floor':>8}",
    ]
    for row in rows:
        off, flips = row.get("probability_difference"), row.get("flipped_share")
        lines.append(
            f"{row['variant'] + ', ' + row['precision']:20}{row['seconds'] * 1e3:9.1f}"
            f" {row['images_per_second']:9.1f} {row['ratio']:8.2f}"
            f" {row['ratio_min']:6.2f}-{row['ratio_max']:.2f}"
            f" {'' if off is None else f'{off:.0e}':>8}"
            f" {'' if flips is None else f'{flips:.1%}':>7} {row['over_floor']:8.2f}"
        )
    return "\n".join(lines)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/inference.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
