"""VehicleID's ten draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from dcal.metrics.draws import draw_gallery, evaluate_draws
from tests.metrics.slow_ranking import rank_slowly

IDENTITIES = [3, 3, 3, 7, 7, 9, 9, 9, 9, 11]


def make_features() -> torch.Tensor:
    return torch.randn(10, 6, generator=torch.Generator().manual_seed(0))


def test_each_draw_has_one_picture_of_each_identity() -> None:
    names = pd.Series(IDENTITIES)
    draws = [draw_gallery(names, seed=0, draw=draw) for draw in range(10)]
    for is_gallery in draws:
        assert sorted(names[is_gallery]) == [3, 7, 9, 11]
    assert len({tuple(is_gallery) for is_gallery in draws}) > 5
    np.testing.assert_array_equal(draws[3], draw_gallery(names, seed=0, draw=3))
    assert any((draw_gallery(names, seed=1, draw=i) != draws[i]).any() for i in range(10))


def test_scores_are_means_over_draws_as_the_oracle_has_them() -> None:
    features, names = make_features(), pd.Series(IDENTITIES)
    found = evaluate_draws(features, IDENTITIES, max_rank=4)
    slow = []
    for draw in range(10):
        is_gallery = draw_gallery(names, seed=0, draw=draw)
        sides = [features[~is_gallery].tolist(), features[is_gallery].tolist()]
        slow.append(
            rank_slowly(*sides, names[~is_gallery].tolist(), names[is_gallery].tolist(), max_rank=4)
        )
    np.testing.assert_allclose(found.cmc, np.mean([entry.cmc for entry in slow], axis=0))
    assert found.mean_ap == pytest.approx(np.mean([entry.mean_ap for entry in slow]))
    # One positive a query: all three are the mean reciprocal rank.
    assert all(result.mean_ap == pytest.approx(result.mean_inp) for result in found.results)
    assert found.cmc[3] == 1 and len(found.results) == 10 and found.seed == 0


@pytest.mark.parametrize(
    ("identities", "message"),
    [(list(range(10)), "one at least with two pictures"), ([1, 1], "expected 10, one a feature")],
)
def test_what_gives_no_query_is_refused(identities: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_draws(make_features(), identities)


def test_a_column_with_another_index_is_drawn_from_as_a_list_is() -> None:
    identities = [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    column = pd.Series(identities, index=[30, 4, 9, 2, 8, 1, 0, 7, 50, 3])
    expected = evaluate_draws(make_features(), identities)
    found = evaluate_draws(make_features(), column)
    assert found.mean_ap == expected.mean_ap
    with pytest.raises(ValueError, match="num_draws: expected at least 1; got 0"):
        evaluate_draws(make_features(), identities, num_draws=0)
