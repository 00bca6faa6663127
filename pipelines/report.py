"""Stage report: one self-contained page about the run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.config import Config, load_config
from dcal.data.datamodule import open_pictures
from dcal.inference.scoring import (
    TRAINED_MODEL,
    describe_scored_config,
    name_command,
    read_predictions,
)
from dcal.models.weights import read_model_card, read_tensors
from dcal.paths import write_atomically
from dcal.tracking import read_run_record
from dcal.visual.report import ReportInputs, TrainingResults, render_report
from pipelines.guard import leave_with_dvc
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)

PAGE = Path("reports/report.html")
GALLERY = Path("runs/rollout")


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

    Of a model given as evaluate.weights its card is shown, and nothing of a training run here.

    Raises:
        FileNotFoundError: A stage has not run; the message names its file.
    """
    config = load_config("params.yaml")
    pictures = open_pictures(config.dataset)
    model_path = Path(config.evaluate.weights or TRAINED_MODEL)
    card = read_model_card(model_path)
    folder = Path("results/evaluate")
    return ReportInputs(
        config=describe_scored_config(config, card),
        index_report=pictures.report,
        training=None if config.evaluate.weights else read_training(),
        card=card,
        num_parameters=count_parameters(model_path),
        metrics=read_json(find(folder / "metrics.json", config)),
        confusion=pd.read_csv(find(folder / "confusion.csv", config)),
        classes=pd.read_csv(find(folder / "per_class.csv", config)),
        localization=pd.read_csv(find(Path("results/rollout/localization.csv"), config)),
        predictions=read_predictions(
            "runs/evaluate/predictions.parquet", command=name_command(config, "evaluate")
        ),
        gallery=pd.read_csv(find(GALLERY / "index.csv", config), dtype={"name": str}),
        gallery_folder=GALLERY,
        pictures_root=pictures.root,
    )


def read_training() -> TrainingResults:
    """Read what the train stage left in results/train."""
    run = read_run_record("results/train/run.json")
    return TrainingResults(
        run=run,
        metrics=read_json(Path("results/train/metrics.json")),
        history=pd.read_csv("results/train/history.csv"),
    )


def count_parameters(path: Path) -> int:
    """Count the numbers in a model's file."""
    tensors, _ = read_tensors(path)
    return sum(tensor.numel() for tensor in tensors.values())


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of metrics."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def find(path: Path, config: Config) -> Path:
    """Return a file that the stage of its folder's name made.

    Raises:
        FileNotFoundError: It is not there.
    """
    if not path.is_file():
        command = name_command(config, path.parent.name)
        raise FileNotFoundError(f"{path}: no such file; run: {command}")
    return path


if __name__ == "__main__":
    with leave_with_dvc():
        run_stage(main, "report")
