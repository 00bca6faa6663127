"""Stage report: one self-contained page about the run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.config import load_config
from dcal.data.datamodule import open_pictures
from dcal.inference.scoring import read_predictions
from dcal.models.weights import read_model_card
from dcal.paths import write_atomically
from dcal.tracking import read_run_record
from dcal.visual.report import ReportInputs, render_report
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)

PAGE = Path("reports/report.html")


def main() -> None:
    """Read params.yaml and what the stages left, and write the page."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    inputs = read_inputs()
    text = render_report(inputs)
    with write_atomically(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logger.info("%s (%.1f MB): open it in a browser", PAGE, len(text.encode()) / 1e6)


def read_inputs() -> ReportInputs:
    """Gather what the page shows.

    Raises:
        FileNotFoundError: A stage has not run; the message names its file.
    """
    config = load_config("params.yaml")
    pictures = open_pictures(config.dataset)
    gallery_folder = Path("runs/rollout")
    return ReportInputs(
        config=config,
        index_report=pictures.report,
        run=read_run_record("results/train/run.json"),
        card=read_model_card(config.evaluate.weights or "runs/train/model.safetensors"),
        train_metrics=read_json("results/train/metrics.json"),
        metrics=read_json("results/evaluate/metrics.json"),
        history=pd.read_csv(find("results/train/history.csv")),
        confusion=pd.read_csv(find("results/evaluate/confusion.csv")),
        classes=pd.read_csv(find("results/evaluate/per_class.csv")),
        localization=pd.read_csv(find("results/rollout/localization.csv")),
        predictions=read_predictions("runs/evaluate/predictions.parquet"),
        gallery=pd.read_csv(find(gallery_folder / "index.csv"), dtype={"name": str}),
        gallery_folder=gallery_folder,
        pictures_root=pictures.root,
    )


def read_json(path: str) -> dict[str, Any]:
    """Read a file of metrics."""
    content: dict[str, Any] = json.loads(find(path).read_text(encoding="utf-8"))
    return content


def find(path: str | Path) -> Path:
    """Return a file that an earlier stage made.

    Raises:
        FileNotFoundError: It is not there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; run: dvc repro")
    return Path(path)


if __name__ == "__main__":
    run_stage(main)
