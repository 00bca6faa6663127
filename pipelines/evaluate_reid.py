"""What stage evaluate does with a Re-ID data set: embed, rank by each branch, keep it all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from rich.progress import Progress

from dcal.analysis.ranking_tables import build_confusions, build_ranking_table
from dcal.config import Config
from dcal.data.partial import label_partial
from dcal.inference.embedding import Branch
from dcal.inference.features import Features, save_features
from dcal.inference.retrieval import (
    build_identity_table,
    build_query_table,
    embed_test_pictures,
    find_lists,
    rank_branches,
    score_branches,
)
from dcal.inference.scoring import Scoring
from dcal.metrics.ranking import RankingResult
from dcal.paths import write_atomically, write_json
from dcal.processor import prepare_cpu
from dcal.training.runtime import resolve_runtime

logger = logging.getLogger(__name__)

SPLIT = "test"
NUM_LISTED = 10  # gallery pictures of a query that are kept by name
RESULTS, RUNS = Path("results/evaluate"), Path("runs/evaluate")
LOGGED = {"mean_ap": "mAP", "cmc_1": "rank-1", "cmc_5": "rank-5", "reranked_mean_ap": "re-ranked"}


def evaluate_reid(config: Config, scoring: Scoring) -> dict[str, float]:
    """Score the test split, write what was found, and return the metrics.

    Raises:
        ValueError: No query has a match to be found.
    """
    features = embed(config, scoring)
    save_features(RUNS / "features.safetensors", features)
    results = rank(config, features)
    num_gallery = int((features.table["split"] == "gallery").sum())
    metrics = score_branches(results, split=SPLIT, num_gallery=num_gallery)
    write_tables(config, features, results, partial=scoring.pictures.report.partial)
    write_json(RESULTS / "metrics.json", metrics)
    for branch in results:
        told = (
            f"{name} {metrics[f'{SPLIT}/{branch}/{key}']:.4f}"
            for key, name in LOGGED.items()
            if f"{SPLIT}/{branch}/{key}" in metrics
        )
        logger.info("%-5s %s", branch, "  ".join(told))
    return metrics


def embed(config: Config, scoring: Scoring) -> Features:
    """Embed queries and gallery with a progress bar."""
    prepare_cpu()
    device = torch.device(resolve_runtime(scoring.config.train).accelerator)
    pictures = scoring.pictures
    total = len(pictures.select("query")) + len(pictures.select("gallery"))
    with Progress(transient=True) as progress:
        task = progress.add_task("Embedding", total=total)
        return embed_test_pictures(
            scoring,
            config.evaluate,
            device=device,
            on_batch=lambda count: progress.advance(task, count),
        )


def rank(config: Config, features: Features) -> dict[Branch, RankingResult]:
    """Rank by every branch with a progress bar."""
    with Progress(transient=True) as progress:
        task = progress.add_task("Ranking")
        return rank_branches(
            features,
            config.evaluate,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def write_tables(
    config: Config,
    features: Features,
    results: dict[Branch, RankingResult],
    *,
    partial: Sequence[str],
) -> None:
    """Write queries, identities, ranked lists and mix-ups; the last two of the main branch."""
    branches = list(results)
    main_branch = branches[-1]
    queries, gallery = (
        features.table.loc[features.table["split"] == split] for split in ("query", "gallery")
    )
    memory_limit = config.evaluate.memory_mb << 20
    lists = find_lists(
        features, branch=main_branch, num=NUM_LISTED, rule="junk", memory_limit=memory_limit
    )
    wrong = find_lists(
        features, branch=main_branch, num=1, rule="identity", memory_limit=memory_limit
    )
    scored = build_query_table(features, results)
    tables = {
        RUNS / "ranked_lists.csv": build_ranking_table(queries, gallery, lists),
        RESULTS / "per_class.csv": build_identity_table(scored, branches=list(branches)),
        RESULTS / "confusion.csv": build_confusions(
            queries, gallery, wrong, results[main_branch].first_ranks
        ),
    }
    with write_atomically(RUNS / "predictions.parquet") as temporary:
        scored.to_parquet(temporary, index=False)
    for path, table in tables.items():
        write_table(path, label_partial(table, partial))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    with write_atomically(path) as temporary:
        table.to_csv(temporary, index=False)
