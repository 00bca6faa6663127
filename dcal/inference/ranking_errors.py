"""Where a ranking goes wrong, from the embeddings that the evaluate stage saved (ours)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from dcal.analysis.ranking_tables import (
    build_confusions,
    build_ranking_table,
    find_worst_queries,
    select_queries,
)
from dcal.config import Config, EvaluateConfig
from dcal.data.datamodule import open_pictures
from dcal.inference.camera_pairs import compare_cameras, measure_nearest_right
from dcal.inference.embedding import Branch
from dcal.inference.features import Features
from dcal.inference.retrieval import (
    build_query_table,
    find_lists,
    rank_branches,
    read_test_features,
)
from dcal.metrics.nearest import Nearest
from dcal.metrics.ranking import RankingResult

FEATURES = Path("runs/evaluate/features.safetensors")


@dataclass(frozen=True)
class Ranking:
    """A data set's queries and gallery, ranked by each branch."""

    features: Features
    results: Mapping[Branch, RankingResult]
    evaluate: EvaluateConfig
    root: Path  # that the pictures' paths start from

    @property
    def main(self) -> Branch:
        """Return the branch that stands for the model: `both`, or `sa` where there is no GLCA."""
        return list(self.results)[-1]

    @property
    def num_valid_queries(self) -> int:
        """Count the queries of which the gallery keeps a picture."""
        return self.results[self.main].num_valid_queries

    @property
    def memory_limit(self) -> int:
        """Return `evaluate.memory_mb` in bytes."""
        return self.evaluate.memory_mb << 20

    @cached_property
    def queries(self) -> pd.DataFrame:
        """Return the table of `build_query_table`."""
        return build_query_table(self.features, self.results)

    @cached_property
    def nearest_wrong(self) -> Nearest:
        """Return the nearest picture of another identity, of every query."""
        return find_lists(
            self.features, branch=self.main, num=1, rule="identity", memory_limit=self.memory_limit
        )

    def select(self, split: str) -> pd.DataFrame:
        """Return the pictures of query or gallery, a row each."""
        table = self.features.table
        return table[table["split"] == split]


def open_ranking(config: Config) -> Ranking:
    """Read the embeddings of the current directory's run, and rank them.

    Raises:
        FileNotFoundError: A stage has not run; the message names the command.
        ValueError: The data set is not one of Re-ID, or the embeddings are of other pictures.
    """
    dataset = config.dataset
    if dataset.kind != "reid":
        raise ValueError(
            f"dataset.name {dataset.name}: expected a Re-ID data set, whose pictures are ranked; "
            f"got one of kind {dataset.kind}; set project to one of Re-ID, or make one: "
            "python -m pipelines.compose preset=reid, then dvc repro"
        )
    if not FEATURES.is_file():
        raise FileNotFoundError(
            f"{FEATURES}: expected the embeddings of the evaluate stage, found no such file; run: "
            "dvc repro evaluate"
        )
    pictures = open_pictures(dataset)
    features = read_test_features(FEATURES, pictures)
    results = rank_branches(features, config.evaluate)
    return Ranking(features, results, config.evaluate, pictures.root)


def ask_cameras(ranking: Ranking) -> pd.DataFrame:
    """Return the table of `compare_cameras`; no row where cameras are not known."""
    return compare_cameras(ranking.features, branch=ranking.main, memory_limit=ranking.memory_limit)


def measure_nearest(ranking: Ranking) -> pd.DataFrame:
    """Return the squared Euclidean distances `right` and `wrong`, a row a query.

    NaN where a query has no right picture, or nobody else is in the gallery.
    """
    return pd.DataFrame(
        {
            "right": measure_nearest_right(ranking.features, branch=ranking.main),
            "wrong": ranking.nearest_wrong.distances[:, 0],
        }
    )


def list_worst(ranking: Ranking, *, num: int, num_shown: int) -> pd.DataFrame:
    """Return the ranked lists of the queries of lowest average precision, worst first.

    Returns:
        Rows of `build_ranking_table`, up to `num_shown` a query; none where every query finds all
        of its pictures first.
    """
    precisions = ranking.queries[f"{ranking.main}_average_precision"].to_numpy()
    worst = find_worst_queries(precisions, num=num)
    lists = find_lists(
        ranking.features,
        branch=ranking.main,
        num=num_shown,
        rule="junk",
        memory_limit=ranking.memory_limit,
    )
    table = build_ranking_table(ranking.select("query"), ranking.select("gallery"), lists)
    return select_queries(table, ranking.queries, worst)


def count_confusions(ranking: Ranking) -> pd.DataFrame:
    """Return the table of `build_confusions`, by the branch that stands for the model."""
    return build_confusions(
        ranking.select("query"),
        ranking.select("gallery"),
        ranking.nearest_wrong,
        ranking.results[ranking.main].first_ranks,
    )
