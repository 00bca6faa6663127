"""Print the scores of the last run and where its files are; `make repro` ends with it (ours)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

METRICS = Path("results/evaluate/metrics.json")
BRANCHES = ("sa", "glca", "both")
COLUMNS = {
    "top1_accuracy": "top-1",
    "top5_accuracy": "top-5",
    "mean_class_accuracy": "class mean",
    "ece": "ECE",
}
PLACES = {
    "report": "reports/report.html",
    "model": "runs/train/model.safetensors",
    "predictions": "runs/evaluate/predictions.parquet",
    "overlays": "runs/rollout",
    "scores": "results",
    "curves": "make ui, then http://127.0.0.1:5000",
}


def main() -> None:
    """Read results/evaluate/metrics.json and print one row a branch."""
    if not METRICS.is_file():
        sys.exit(f"summary: {METRICS} is missing; run: dvc repro")
    metrics = json.loads(METRICS.read_text(encoding="utf-8"))
    table = Table("test split", *COLUMNS.values())
    for branch in BRANCHES:
        scores = [metrics.get(f"test/{branch}/{name}") for name in COLUMNS]
        if any(score is not None for score in scores):
            table.add_row(branch, *("" if score is None else f"{score:.4f}" for score in scores))
    console = Console()
    console.print(table)
    for name, place in PLACES.items():
        console.print(f"{name:<12} {place}", highlight=False)


if __name__ == "__main__":
    main()
