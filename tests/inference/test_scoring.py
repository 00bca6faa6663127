"""Predictions of a model over a loader, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from dcal.inference.scoring import (
    build_predictions,
    choose_main_branch,
    compute_probabilities,
    list_branches,
    score_predictions,
)
from tests.models.factory import make_images, make_model

TABLE = pd.DataFrame(
    {"path": [f"{i}.png" for i in range(7)], "label": [0, 1, 2, 3, 4, 0, 1], "split": "test"},
    index=range(20, 27),
)


def make_batches(batch_size: int, order: list[int]) -> list[dict[str, torch.Tensor]]:
    images = make_images(7)
    return [
        {
            "image": images[order[start : start + batch_size]],
            "row": torch.tensor(order[start : start + batch_size]) + 20,
        }
        for start in range(0, 7, batch_size)
    ]


@pytest.mark.parametrize("readout", ["class", "class_local"])
def test_predictions_do_not_depend_on_batches_or_order(readout: str) -> None:
    model = make_model(readout=readout).eval()
    tables = [
        build_predictions(
            TABLE,
            *compute_probabilities(model, make_batches(size, order), device=torch.device("cpu")),
        )
        for size, order in ((7, list(range(7))), (2, [3, 6, 0, 2, 5, 1, 4]))
    ]
    assert tables[0]["path"].tolist() == TABLE["path"].tolist()
    for column in tables[0]:
        if column.endswith("_probabilities"):
            stacked = [np.stack(table[column].tolist()) for table in tables]
            np.testing.assert_allclose(*stacked, atol=1e-6)
        else:
            pd.testing.assert_series_equal(tables[0][column], tables[1][column], atol=1e-6)


def test_a_predicted_probability_is_that_of_the_predicted_class() -> None:
    model = make_model().eval()
    rows, probabilities = compute_probabilities(
        model, make_batches(3, list(range(7))), device=torch.device("cpu")
    )
    table = build_predictions(TABLE, rows, probabilities)
    assert list_branches(table) == ["sa", "glca", "both"]
    for branch in ("sa", "glca", "both"):
        for picture in table.to_dict("records"):
            values = picture[f"{branch}_probabilities"].tolist()
            assert picture[f"{branch}_probability"] == max(values)
            assert values.index(max(values)) == picture[f"{branch}_prediction"]
    right = sum(p["both_prediction"] == p["label"] for p in table.to_dict("records"))
    assert score_predictions(table, split="test")["test/both/top1_accuracy"] == right / 7


def test_both_is_the_mean_of_the_branches_probabilities() -> None:
    model = make_model().eval()
    _, found = compute_probabilities(
        model, make_batches(7, list(range(7))), device=torch.device("cpu")
    )
    out = model(make_images(7))
    expected = (out.sa_logits.softmax(1) + out.glca_logits.softmax(1)) / 2
    torch.testing.assert_close(found["both"], expected.float())


def test_without_glca_there_is_only_sa_and_no_both() -> None:
    model = make_model(glca_blocks=0).eval()
    rows, probabilities = compute_probabilities(
        model, make_batches(4, list(range(7))), device=torch.device("cpu")
    )
    table = build_predictions(TABLE, rows, probabilities)
    assert choose_main_branch(table) == "sa"
    assert {key.split("/")[1] for key in score_predictions(table, split="val")} == {"sa"}


@pytest.mark.parametrize("rows", [[20, 21, 22, 23, 24, 25], [20, 21, 22, 23, 24, 25, 25]])
def test_a_picture_scored_twice_or_not_at_all_is_refused(rows: list[int]) -> None:
    probabilities = {"sa": torch.full((len(rows), 5), 0.2)}
    with pytest.raises(ValueError, match="each of the 7 pictures scored once"):
        build_predictions(TABLE, torch.tensor(rows), probabilities)
