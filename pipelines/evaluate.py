"""Stage evaluate: score the test split, and keep what the model said of each picture."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pandas as pd
import torch
from rich.progress import Progress

from dcal.analysis.tables import build_class_table, build_confusion_table
from dcal.config import Config, load_config
from dcal.data.partial import label_partial
from dcal.inference.scoring import (
    Scoring,
    build_predictions,
    build_scoring_loader,
    choose_main_branch,
    compute_probabilities,
    describe_scored_config,
    list_branches,
    open_scoring,
    read_predictions,
    score_predictions,
)
from dcal.metrics.classification import compute_confusion
from dcal.paths import compute_file_digest, compute_fingerprint, write_atomically, write_json
from dcal.processor import prepare_cpu
from dcal.tracking import (
    NOTE_TAG,
    Tracker,
    describe_environment,
    describe_result,
    read_run_record,
    resume_run,
    start_run,
)
from dcal.training.runtime import resolve_runtime
from pipelines.evaluate_reid import evaluate_reid
from pipelines.guard import leave_with_dvc
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)

SPLIT = "test"
RESULTS, RUNS = Path("results/evaluate"), Path("runs/evaluate")


def main() -> None:
    """Read params.yaml and score what train made, or the model file of evaluate.weights."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config("params.yaml")
    scoring = open_scoring(config)
    if config.dataset.kind == "reid":
        track_ranking(config, scoring, evaluate_reid(config, scoring))
    else:
        evaluate_classes(config, scoring)


def evaluate_classes(config: Config, scoring: Scoring) -> None:
    """Score the classes of the test split, and write what was found."""
    predictions = predict(scoring)
    metrics = score_predictions(predictions, split=SPLIT)
    confusion = count_confusion(predictions, scoring)
    class_names = scoring.pictures.report.class_names
    branches = list_branches(predictions)
    classes = build_class_table(predictions, class_names, branches=branches)
    confusions = build_confusion_table(confusion.numpy(), class_names)
    partial = scoring.pictures.report.partial
    write_tables(predictions, label_partial(confusions, partial), label_partial(classes, partial))
    write_json(RESULTS / "metrics.json", metrics)
    track(config, scoring, metrics, confusion)
    for branch in branches:
        logger.info("%-5s top-1 %.4f", branch, metrics[f"{SPLIT}/{branch}/top1_accuracy"])


def predict(scoring: Scoring) -> pd.DataFrame:
    """Run the model over the test split with a progress bar."""
    prepare_cpu()
    loader = build_scoring_loader(scoring, SPLIT)
    table = scoring.pictures.select(SPLIT)
    device = torch.device(resolve_runtime(scoring.config.train).accelerator)
    with Progress(transient=True) as progress:
        task = progress.add_task("Scoring", total=len(table))
        rows, probabilities = compute_probabilities(
            scoring.model,
            loader,
            device=device,
            on_batch=lambda count: progress.advance(task, count),
        )
    return build_predictions(table, rows, probabilities)


def count_confusion(predictions: pd.DataFrame, scoring: Scoring) -> torch.Tensor:
    """Count the confusion matrix of the branch that stands for the model."""
    branch = choose_main_branch(predictions)
    return compute_confusion(
        torch.tensor(predictions[f"{branch}_prediction"].tolist()),
        torch.tensor(predictions["label"].tolist()),
        num_classes=len(scoring.pictures.report.class_names),
    )


def write_tables(predictions: pd.DataFrame, confusion: pd.DataFrame, classes: pd.DataFrame) -> None:
    """Write predictions.parquet, confusion.csv and per_class.csv."""
    with write_atomically(RUNS / "predictions.parquet") as temporary:
        predictions.to_parquet(temporary, index=False)
    for name, table in (("confusion", confusion), ("per_class", classes)):
        with write_atomically(RESULTS / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)


def track(
    config: Config, scoring: Scoring, metrics: dict[str, float], confusion: torch.Tensor
) -> None:
    """Add the scores to the MLflow run that trained the model; a given file gets its own run."""
    from dcal.visual.confusion import draw_confusion
    from dcal.visual.figures import allow_missing_glyphs

    tracker = open_tracker(config, scoring)
    tracker.set_tags({NOTE_TAG: describe(config, scoring, metrics)})
    branch = "both" if f"{SPLIT}/both/top1_accuracy" in metrics else "sa"
    names = scoring.pictures.report.class_names
    tracker.log_scores(metrics)
    with allow_missing_glyphs():
        tracker.log_figure(draw_confusion(confusion.numpy(), names, branch=branch), "confusion")
    for name in ("confusion", "per_class"):
        tracker.log_file(RESULTS / f"{name}.csv", "evaluate")
    tracker.end()


def track_ranking(config: Config, scoring: Scoring, metrics: dict[str, float]) -> None:
    """Add Re-ID scores, their curves and tables to the MLflow run."""
    from dcal.visual.ranking_curves import draw_cmc

    tracker = open_tracker(config, scoring)
    tracker.set_tags({NOTE_TAG: describe(config, scoring, metrics)})
    tracker.log_scores(metrics)
    queries = read_predictions(RUNS / "predictions.parquet")
    num_gallery = int(metrics[f"{SPLIT}/num_gallery"])
    tracker.log_figure(draw_cmc(queries, num_gallery=num_gallery), "cmc")
    for name in ("confusion", "per_class"):
        tracker.log_file(RESULTS / f"{name}.csv", "evaluate")
    tracker.log_file(RUNS / "ranked_lists.csv", "evaluate")
    tracker.end()


def describe(config: Config, scoring: Scoring, metrics: dict[str, float]) -> str:
    """Say in a few lines what the run is, for its description on MLflow's pages."""
    is_trained_here = config.evaluate.weights is None
    record = read_run_record("results/train/run.json") if is_trained_here else None
    return describe_result(scoring.config, metrics, record)


def open_tracker(config: Config, scoring: Scoring) -> Tracker:
    """Resume the run of results/train/run.json, or start one for evaluate.weights.

    The latter carries the parameters that the given model was trained with, and its file's name.
    """
    if config.evaluate.weights is None:
        return resume_run(read_run_record("results/train/run.json"))
    environment = describe_environment(device=resolve_runtime(config.train).device_name)
    digest = scoring.pictures.report.digest
    fingerprint = compute_fingerprint(
        config.model_dump(mode="json", include={"dataset", "evaluate"}),
        data_digest=digest,
        code_digest=compute_file_digest(scoring.path),
    )
    return start_run(
        describe_scored_config(config, scoring.model.card),
        environment=environment,
        fingerprint=fingerprint,
        data_digest=digest,
        # The same model scored on the same data again, as after a kill, is the same run.
        run_key=uuid5(NAMESPACE_OID, fingerprint).hex,
        started=datetime.now(UTC),
        kind="evaluate",
        label=scoring.path.name,
    )


if __name__ == "__main__":
    with leave_with_dvc():
        run_stage(main, "evaluate")
