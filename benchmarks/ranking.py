"""What ranking a gallery costs: beside the matrix product alone, and beside the common evaluator.

    python -m benchmarks.ranking [--output results/benchmarks/ranking.json] [--jobs market msmt ...]

market    3,368 x 15,913, as Market-1501: the product alone (the floor), ours, and the common
          evaluator in two forms (`benchmarks/common_evaluator.py`), with the same scores;
          market_floor leaves the common evaluator out
msmt      11,659 x 82,161, as MSMT17: the floor and ours
gallery   2,000 queries against 125,000 to 1,000,000 pictures
rerank    k-reciprocal re-ranking at Market-1501's size

Features are drawn: a centre an identity, and noise. Each job runs in a process of its own; the
variants of a job run in turn, round by round, and a ratio is the median of those within a round.
Memory is the peak beyond the features, of a run of its own after them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.common_evaluator import evaluate_commonly
from benchmarks.machine import describe_machine, read_peak
from dcal.metrics.distances import MAX_BLOCK_QUERIES
from dcal.metrics.ranking import RankingResult, evaluate_ranking
from dcal.metrics.reranking import Reranking, RerankingOptions, bound_bytes

WIDTH = 1536
GALLERY_SIZES = (125_000, 250_000, 500_000, 1_000_000)
RATIOS = (("ours", "floor"), ("common", "ours"), ("common_vectorised", "ours"))
JOBS = ("market", "msmt", "gallery", "rerank")


class Sides(NamedTuple):
    """Features, identities and cameras, as `evaluate_ranking` takes them."""

    query_features: Tensor
    gallery_features: Tensor
    query_identities: Tensor
    gallery_identities: Tensor
    query_cameras: Tensor
    gallery_cameras: Tensor


def main() -> None:
    """Run each job in a process of its own, print and write what it found."""
    arguments = _parse_arguments()
    if arguments.job:
        print(json.dumps(RUNNERS[arguments.job](arguments.rounds)))
        return
    record: dict[str, Any] = {"machine": describe_machine("cpu", torch.get_num_threads())}
    for job in arguments.jobs:
        command = [sys.executable, "-m", "benchmarks.ranking", "--job", job]
        command += ["--rounds", str(arguments.rounds)]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        record[job] = json.loads(found.stdout.splitlines()[-1])
        print(format_job(job, record[job]))
    if arguments.output:
        arguments.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def run_market(rounds: int) -> dict[str, Any]:
    """Compare with the floor and with the common evaluator, and the scores with its scores."""
    sides = draw_sides(3_368, 15_913, num_identities=751, num_cameras=6)
    arrays = [values.numpy() for values in sides[2:]]
    variants: dict[str, Callable[[], Any]] = {
        "floor": lambda: multiply(sides),
        "ours": lambda: rank(sides),
        "common": lambda: evaluate_commonly(*sides[:2], *arrays, is_vectorised=False),
        "common_vectorised": lambda: evaluate_commonly(*sides[:2], *arrays, is_vectorised=True),
    }
    found = measure(variants, rounds)
    ours, (cmc, mean_ap, mean_inp) = rank(sides), variants["common"]()
    differences = {
        "cmc": float(np.abs(ours.cmc - cmc).max()),
        "mean_ap": abs(ours.mean_ap - mean_ap),
        "mean_inp": abs(ours.mean_inp - mean_inp),
    }
    return found | {"mean_ap": ours.mean_ap, "differences": differences}


def run_market_floor(rounds: int) -> dict[str, Any]:
    """Compare with the floor alone."""
    sides = draw_sides(3_368, 15_913, num_identities=751, num_cameras=6)
    return measure({"floor": lambda: multiply(sides), "ours": lambda: rank(sides)}, rounds)


def run_msmt(rounds: int) -> dict[str, Any]:
    """Compare with the floor."""
    sides = draw_sides(11_659, 82_161, num_identities=3_060, num_cameras=15)
    return measure({"floor": lambda: multiply(sides), "ours": lambda: rank(sides)}, rounds)


def run_gallery(rounds: int) -> dict[str, Any]:
    """Time growing galleries, once each."""
    sides = draw_sides(2_000, max(GALLERY_SIZES), num_identities=50_000, num_cameras=15)
    rows = []
    for size in GALLERY_SIZES:
        part = Sides(
            *(
                values[:size] if name.startswith("gallery") else values
                for name, values in sides._asdict().items()
            )
        )
        found = measure({"floor": partial(multiply, part), "ours": partial(rank, part)}, 1)
        rows.append({"gallery": size, **found})
    return {"rows": rows}


def run_rerank(rounds: int) -> dict[str, Any]:
    """Time re-ranking, with its bound."""
    sides = draw_sides(3_368, 15_913, num_identities=751, num_cameras=6)

    def rerank() -> None:
        for _ in Reranking(sides.query_features, sides.gallery_features):
            pass

    bound = bound_bytes(3_368 + 15_913, WIDTH, RerankingOptions())
    return {**measure({"ours": rerank}, 1), "bound_mib": bound / 2**20}


RUNNERS = {
    "market": run_market,
    "market_floor": run_market_floor,
    "msmt": run_msmt,
    "gallery": run_gallery,
    "rerank": run_rerank,
}


def draw_sides(
    num_queries: int, num_gallery: int, *, num_identities: int, num_cameras: int
) -> Sides:
    """Draw features with a centre an identity; about half of the ranks are then mixed up."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(num_identities, WIDTH, generator=generator)

    def draw(count: int) -> tuple[Tensor, Tensor, Tensor]:
        identities = torch.randint(num_identities, (count,), generator=generator)
        features = torch.empty(count, WIDTH).normal_(generator=generator)
        for first in range(0, count, 1000):
            part = slice(first, first + 1000)
            features[part] += 0.3 * centers[identities[part]]
        return features, identities, torch.randint(num_cameras, (count,), generator=generator)

    queries, gallery = draw(num_queries), draw(num_gallery)
    return Sides(*(value for pair in zip(queries, gallery, strict=True) for value in pair))


def multiply(sides: Sides) -> None:
    """Run the blocked matrix product that any exact evaluation needs, and nothing else."""
    buffer = torch.empty(MAX_BLOCK_QUERIES, len(sides.gallery_features))
    for queries in sides.query_features.split(MAX_BLOCK_QUERIES):
        torch.mm(queries, sides.gallery_features.T, out=buffer[: len(queries)])


def rank(sides: Sides) -> RankingResult:
    """Evaluate with the default memory limit."""
    return evaluate_ranking(**sides._asdict())


def measure(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Return median seconds, peak MiB and, to the floor and to ours, ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    found: dict[str, Any] = {}
    for name, variant in variants.items():
        found[f"{name}_peak_mib"] = round(_measure_peak(variant))
    for _ in range(rounds):
        for name, variant in variants.items():
            started = time.perf_counter()
            variant()
            seconds[name].append(time.perf_counter() - started)
    found |= {f"{name}_seconds": statistics.median(times) for name, times in seconds.items()}
    for name, other in RATIOS:
        if name in variants and other in variants:
            ratios = [a / b for a, b in zip(seconds[name], seconds[other], strict=True)]
            found[f"{name}_over_{other}"] = statistics.median(ratios)
            found[f"{name}_over_{other}_by_round"] = ratios
    return found


def format_job(job: str, found: dict[str, Any]) -> str:
    """Return a line for each size and variant, with its ratio to the floor."""
    lines = []
    for row in found.get("rows", [found]):
        title = f"{job} {row['gallery']:,}" if "gallery" in row else job
        for key in [key for key in row if key.endswith("_seconds")]:
            name, seconds = key.removesuffix("_seconds"), row[key]
            over = (
                f"{seconds / row['floor_seconds']:8.2f} x floor" if "floor_seconds" in row else ""
            )
            peak = f"{row[f'{name}_peak_mib']:7.0f} MiB"
            lines.append(f"{title:20}{name:20}{seconds:9.2f} s {peak}{over}")
    return "\n".join(lines)


def _measure_peak(variant: Callable[[], object]) -> float:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = read_peak("cpu")
    variant()
    return (read_peak("cpu") - before) / 2**20


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", nargs="+", choices=RUNNERS, default=list(JOBS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--job", choices=RUNNERS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
