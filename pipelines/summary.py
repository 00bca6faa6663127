"""Print the scores of the last run and where its files are; `make repro` ends with it (ours)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dcal.data.partial import list_partial

METRICS = Path("results/evaluate/metrics.json")
RECORD = Path("results/train/run.json")
BRANCHES = ("sa", "glca", "both")
COLUMNS = {
    "top1_accuracy": "top-1",
    "top5_accuracy": "top-5",
    "mean_class_accuracy": "class mean",
    "ece": "ECE",
    "mean_ap": "mAP",
    "cmc_1": "rank-1",
    "cmc_5": "rank-5",
    "cmc_10": "rank-10",
    "mean_inp": "mINP",
    "reranked_mean_ap": "mAP, re-ranked",
    "reranked_cmc_1": "rank-1, re-ranked",
}
PLACES = {
    "report": "reports/report.html",
    "data": "reports/01_tour_of_the_data.html",
    "rollout": "reports/02_rollout.html",
    "model": "runs/train/model.safetensors",
    "predictions": "runs/evaluate/predictions.parquet",
    "overlays": "runs/rollout",
    "scores": "results",
    "curves": "make ui, then http://127.0.0.1:5000",
}


def main() -> None:
    """Print one row a branch of results/evaluate/metrics.json, places, and the run's warnings."""
    if not METRICS.is_file():
        sys.exit(f"summary: {METRICS} is missing; run: dvc repro")
    metrics = json.loads(METRICS.read_text(encoding="utf-8"))
    found = [name for name in COLUMNS if f"test/sa/{name}" in metrics]
    table = Table(_name_split(), *(COLUMNS[name] for name in found))
    for branch in BRANCHES:
        scores = [metrics.get(f"test/{branch}/{name}") for name in found]
        if any(score is not None for score in scores):
            table.add_row(branch, *("" if score is None else f"{score:.4f}" for score in scores))
    console = Console()
    console.print(table)
    for name, place in PLACES.items():
        console.print(f"{name:<12} {place}", highlight=False)
    print_warnings(console, read_warnings())


def _name_split() -> str:
    return "test split, partial data" if list_partial(read_warnings()) else "test split"


def read_warnings() -> list[str]:
    """Return what the run record warns of, each once; nothing where no model was trained here."""
    if not RECORD.is_file():
        return []
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return list(dict.fromkeys(record.get("warnings", [])))


def print_warnings(console: Console, warnings: list[str]) -> None:
    """Print how many there are, and each on a line that the terminal may break."""
    if not warnings:
        return
    console.print("1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings", style="bold")
    for warning in warnings:
        # No markup: a warning may name a folder such as [old].
        console.print(
            f"  {' '.join(warning.split())}", highlight=False, markup=False, soft_wrap=True
        )


if __name__ == "__main__":
    main()
