"""Scores of a split from the embeddings of its pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dcal.metrics.ranking import evaluate_ranking
from dcal.training.retrieval import RetrievalMeter, list_scores, rank_embeddings


def make_table(splits: list[str], cameras: list[int | None], identities: list[int]) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "split": splits,
        "camera": pd.array(cameras, dtype="Int64"),
        "identity": pd.array(identities, dtype="Int64"),
    }
    return pd.DataFrame(columns, index=range(50, 50 + len(splits)))


def make_embeddings(count: int) -> torch.Tensor:
    values = torch.randn(count, 8, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(values, dim=1)


def test_queries_are_ranked_against_the_gallery() -> None:
    table = make_table(
        ["query", "gallery"] * 6, [1, 2, 1, 1, 2, None] * 2, [4, 4, 5, 5, 6, 6, 5, 4, 6, 5, 4, 6]
    )
    embeddings = make_embeddings(12)
    found = rank_embeddings(embeddings, table)
    cameras = table["camera"].fillna(-1).to_numpy(dtype=int)
    identities = table["identity"].to_numpy(dtype=int)
    expected = evaluate_ranking(
        query_features=embeddings[::2],
        gallery_features=embeddings[1::2],
        query_identities=identities[::2],
        gallery_identities=identities[1::2],
        query_cameras=cameras[::2],
        gallery_cameras=cameras[1::2],
    )
    assert found.mean_ap == expected.mean_ap and found.num_valid_queries == 3
    np.testing.assert_array_equal(found.first_ranks, expected.first_ranks)


@pytest.mark.parametrize("cameras", [[1, 2, 3] * 3, [None] * 9, [1, None, 2] * 3])
def test_in_val_every_picture_meets_all_others_but_itself(cameras: list[int | None]) -> None:
    table = make_table(["val"] * 9, cameras, [1, 1, 1, 2, 2, 2, 3, 3, 3])
    # A picture that met itself would always be first.
    found = rank_embeddings(make_embeddings(9), table)
    assert found.num_valid_queries == 9
    assert (found.num_positives == 2).all()
    assert found.cmc[0] < 1


def test_the_meter_scores_each_branch_and_begins_anew() -> None:
    table = make_table(["val"] * 6, [1, 2] * 3, [1, 1, 2, 2, 3, 3])
    meter = RetrievalMeter(table)
    embeddings = make_embeddings(6)
    order = [3, 1, 5, 0, 2, 4]
    for rows in (order[:4], order[4:]):
        part = embeddings[rows]
        meter.add(torch.tensor(rows) + 50, {"sa": part, "both": -part})
    scores = meter.pop()
    expected = list_scores(rank_embeddings(embeddings, table))
    assert {k: v for k, v in scores.items() if k.startswith("sa/")} == {
        f"sa/{name}": value for name, value in expected.items()
    }
    assert set(scores) == {
        f"{branch}/{name}"
        for branch in ("sa", "both")
        for name in ("mean_ap", "mean_inp", "cmc_1", "cmc_5", "cmc_10")
    }
    assert meter.pop() == {}
