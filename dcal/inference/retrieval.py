"""Rank a Re-ID data set's gallery by each branch of a model (DCAL, inference for Re-ID)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dcal.config import EvaluateConfig
from dcal.data.datamodule import Pictures
from dcal.inference.embedding import Branch, compute_embeddings, list_embedding_branches
from dcal.inference.features import (
    Features,
    read_features,
    require_comparable,
    require_same_pictures,
)
from dcal.inference.recipe import describe_recipe
from dcal.inference.scoring import Scoring, build_scoring_loader
from dcal.metrics.nearest import Nearest, Rule, find_nearest
from dcal.metrics.ranking import RankingResult, describe_invalid
from dcal.metrics.reranking import RerankingOptions
from dcal.training.retrieval import list_scores, match_table, rank_embeddings

logger = logging.getLogger(__name__)

KEPT_COLUMNS = ["path", "sha256", "split", "identity", "camera", "view"]


def embed_test_pictures(
    scoring: Scoring,
    evaluate: EvaluateConfig,
    *,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
) -> Features:
    """Embed the queries, then the gallery, by every branch that the model has.

    Raises:
        ValueError: An embedding cannot be compared, as of a model that diverged; the message names
            the picture.
    """
    rows, embeddings = compute_embeddings(
        scoring.model,
        build_scoring_loader(scoring, "test"),
        branches=list_embedding_branches(scoring.model),
        device=device,
        flip=evaluate.flip,
        on_batch=on_batch,
    )
    table = scoring.pictures.table.loc[rows.numpy(), KEPT_COLUMNS].reset_index(drop=True)
    require_comparable(embeddings, table["path"])
    recipe = describe_recipe(scoring.model, scoring.path, flip=evaluate.flip)
    return Features(table, embeddings, recipe)


def read_test_features(path: str | Path, pictures: Pictures) -> Features:
    """Read the embeddings that the evaluate stage saved, of the pictures of this index.

    Raises:
        FileNotFoundError: The stage has not run.
        ValueError: The file is damaged, or of other pictures than the index has now.
    """
    features = read_features(path)
    require_same_pictures(features, pictures.select_ranked(), path=path)
    return features


def rank_branches(
    features: Features,
    evaluate: EvaluateConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[Branch, RankingResult]:
    """Rank the gallery for every query, by each branch.

    A set too small to be re-ranked has plain scores only, with a warning.

    Raises:
        ValueError: No query has a match to be found.
    """
    rerank = RerankingOptions() if evaluate.rerank else None
    if rerank is not None and len(features.table) <= rerank.k1:
        logger.warning(
            "evaluate.rerank: expected more than %d pictures to re-rank; there are %d, so the "
            "scores are plain ones only",
            rerank.k1,
            len(features.table),
        )
        rerank = None
    results = {
        branch: rank_embeddings(
            embeddings,
            features.table,
            ap=evaluate.average_precision,
            memory_limit=evaluate.memory_mb << 20,
            rerank=rerank,
            on_progress=on_progress,
        )
        for branch, embeddings in features.embeddings.items()
    }
    first = next(iter(results.values()))
    if not first.num_valid_queries:
        raise ValueError(
            f"{describe_invalid(first)}; give a gallery with other cameras, or leave the cameras "
            "of the pictures unknown"
        )
    return results


def score_branches(
    results: Mapping[Branch, RankingResult], *, split: str, num_gallery: int
) -> dict[str, float]:
    """Return `<split>/<branch>/<score>`, of re-ranking `reranked_<score>`, and the counts."""
    metrics: dict[str, float] = {}
    for branch, result in results.items():
        scores = list_scores(result)
        if result.reranked is not None:
            again = list_scores(result.reranked)
            scores |= {f"reranked_{name}": value for name, value in again.items()}
        metrics |= {f"{split}/{branch}/{name}": value for name, value in scores.items()}
    first = next(iter(results.values()))
    counts = {
        "num_queries": first.num_queries,
        "num_valid_queries": first.num_valid_queries,
        "num_gallery": num_gallery,
    }
    return metrics | {f"{split}/{name}": value for name, value in counts.items()}


def build_query_table(features: Features, results: Mapping[Branch, RankingResult]) -> pd.DataFrame:
    """Return a row a query: path, identity, camera, number of positives, and for each branch its
    average precision, inverse negative penalty and the rank of the nearest right picture.

    An invalid query has no positives, no precision, and rank 0.
    """
    queries = features.table.loc[features.table["split"] == "query"]
    table = queries[["path", "identity", "camera"]].reset_index(drop=True)
    table["num_positives"] = next(iter(results.values())).num_positives
    for branch, result in results.items():
        table[f"{branch}_average_precision"] = result.average_precisions
        table[f"{branch}_inverse_negative_penalty"] = result.inverse_negative_penalties
        table[f"{branch}_first_rank"] = result.first_ranks
    return table


def build_identity_table(queries: pd.DataFrame, *, branches: list[str]) -> pd.DataFrame:
    """Return a row an identity of the queries: counts, and for each branch mean AP and rank-1."""
    groups = queries.loc[queries["num_positives"] > 0].groupby("identity", sort=True)
    columns: dict[str, Any] = {"num_queries": groups.size()}
    for branch in branches:
        columns[f"{branch}_mean_ap"] = groups[f"{branch}_average_precision"].mean()
        first = groups[f"{branch}_first_rank"]
        columns[f"{branch}_cmc_1"] = first.agg(lambda ranks: float((ranks == 1).mean()))
    return pd.DataFrame(columns).reset_index()


def find_lists(
    features: Features, *, branch: Branch, num: int, rule: Rule, memory_limit: int
) -> Nearest:
    """Return the nearest gallery pictures of every query; see `find_nearest` for the rule."""
    _, queries = features.select("query", branch)
    _, gallery = features.select("gallery", branch)
    return find_nearest(
        queries,
        gallery,
        num=num,
        matches=match_table(features.table),
        rule=rule,
        normalize=False,
        memory_limit=memory_limit,
    )
