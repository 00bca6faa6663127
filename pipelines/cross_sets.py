"""Rank other Re-ID sets by the trained model, beside the one that it was trained on.

    python -m pipelines.cross_sets NAME [NAME ...]

Not a stage: NAME is any Re-ID set that was prepared here (`data/index/NAME`). Flip test, average
precision and re-ranking are those of params.yaml.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from dcal.config import load_config
from dcal.data.datamodule import Pictures, open_prepared
from dcal.inference.features import save_features
from dcal.inference.retrieval import score_branches
from dcal.inference.scoring import Scoring, open_scoring
from dcal.paths import compute_file_digest, index_folder, write_json
from dcal.tracking import read_run_record, resume_run
from dcal.training.retrieval import count_scorable
from pipelines.evaluate_reid import SPLIT, embed, rank, write_table
from pipelines.stage import run_command

logger = logging.getLogger(__name__)

RESULTS, RUNS = Path("results/cross_sets"), Path("runs/cross_sets")


def main(
    names: Annotated[list[str], typer.Argument(help="Re-ID sets that were prepared here")],
) -> None:
    """Rank other Re-ID sets by the trained model."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    score_sets(list(dict.fromkeys(names)))


def score_sets(names: list[str]) -> dict[str, float]:
    """Score each set, write metrics, a table and the features, and add to the run of train.

    Raises:
        FileNotFoundError: No model, or a set that was not prepared.
        ValueError: A set of classes, or one in which no query has a match.
    """
    config = load_config("params.yaml")
    if config.dataset.kind != "reid":
        raise ValueError(
            f"params.yaml: expected a Re-ID data set, whose model compares pictures; got "
            f"{config.dataset.name}, of classes"
        )
    own = open_scoring(config)
    sets = {name: open_reid_set(name) for name in names}  # all, before the first is embedded
    metrics: dict[str, float] = {}
    for name, pictures in sets.items():
        logger.info("%s", name)
        metrics |= score_set(own._replace(pictures=pictures), name)
    write_json(RESULTS / "metrics.json", metrics)
    table = build_score_table(metrics)
    is_partial = table["dataset"].map(lambda name: bool(sets[name].report.partial))
    if is_partial.any():
        table["data"] = is_partial.map({True: "partial", False: ""})
    write_table(RESULTS / "scores.csv", table)
    write_json(RESULTS / "run.json", describe(own, sets))
    track(metrics, own)
    return metrics


def open_reid_set(name: str) -> Pictures:
    """Open a prepared set.

    Raises:
        FileNotFoundError: It was not prepared here; the message lists those that were.
        ValueError: It is of classes, or no query of it has a match to be found.
    """
    folder = index_folder(name)
    if Path(name).name != name or not folder.is_dir():
        prepared = sorted(path.name for path in folder.parent.glob("*"))
        raise FileNotFoundError(
            f"data set {name}: expected one that was prepared here ({', '.join(prepared)}); "
            "compose params.yaml with it and run: dvc repro prepare"
        )
    pictures = open_prepared(name)
    if pictures.report.kind != "reid":
        raise ValueError(f"data set {name}: expected one of identities; it is of classes")
    if not count_scorable(pictures.select_ranked()):
        raise ValueError(f"data set {name}: no query has a match to be found, so it has no score")
    return pictures


def score_set(scoring: Scoring, name: str) -> dict[str, float]:
    """Return `test/<set>/<branch>/<score>` of one set, and keep its features."""
    features = embed(scoring.config, scoring)
    save_features(RUNS / name / "features.safetensors", features)
    results = rank(scoring.config, features)
    num_gallery = int((features.table["split"] == "gallery").sum())
    metrics = score_branches(results, split=f"{SPLIT}/{name}", num_gallery=num_gallery)
    for branch, result in results.items():
        logger.info("  %-5s mAP %.4f  rank-1 %.4f", branch, result.mean_ap, result.cmc[0])
    return metrics


def build_score_table(metrics: dict[str, float]) -> pd.DataFrame:
    """Return a row a set and branch, a column a score."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in metrics.items():
        _, name, *branch, score = key.split("/")
        if branch:
            rows.setdefault((name, branch[0]), {})[score] = value
    index = pd.MultiIndex.from_tuples(rows, names=["dataset", "branch"])
    return pd.DataFrame(list(rows.values()), index=index).reset_index()


def describe(scoring: Scoring, sets: dict[str, Pictures]) -> dict[str, Any]:
    """Say which model was scored, what it was trained on, and which pictures it was asked for."""
    return {
        "model_sha256": compute_file_digest(scoring.path),
        "trained_on": scoring.model.card["config"]["dataset"]["name"],
        "data_digests": {name: pictures.report.digest for name, pictures in sets.items()},
    }


def track(metrics: dict[str, float], scoring: Scoring) -> None:
    """Add the scores to the run that trained the model; those of a given file are not logged."""
    if scoring.config.evaluate.weights is not None:
        logger.info("evaluate.weights is given: nothing is added to the MLflow run of train")
        return
    tracker = resume_run(read_run_record("results/train/run.json"))
    tracker.log_scores(metrics)
    tracker.log_file(RESULTS / "scores.csv", "cross_sets")
    tracker.end()


if __name__ == "__main__":
    run_command(main)
