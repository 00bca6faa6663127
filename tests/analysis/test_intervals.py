"""Student's intervals, paired differences and Holm's p against scipy and plain loops."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dcal.analysis.intervals import (
    adjust_by_holm,
    compare_paired,
    summarise,
)


def by_seed(*values: float) -> pd.Series:
    return pd.Series(values, index=range(len(values)), dtype=float)


@pytest.mark.parametrize("values", [[0.5, 0.7], [0.1, 0.2, 0.6], list(range(10))])
def test_the_interval_is_students(values: list[float]) -> None:
    found = summarise(values)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
    assert (found["low_95"], found["high_95"]) == pytest.approx(expected)
    assert found["std"] == pytest.approx(np.std(values, ddof=1))


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    found = summarise(values)
    assert found["num_seeds"] == len(values)
    assert math.isnan(found["mean"]) == (not values)
    assert all(math.isnan(found[name]) for name in ("std", "low_95", "high_95"))


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_paired_test_is_scipys(count: int) -> None:
    generator = np.random.default_rng(count)
    ours, theirs = by_seed(*generator.normal(size=count)), by_seed(*generator.normal(size=count))
    found = compare_paired(ours, theirs)
    expected = stats.ttest_rel(ours, theirs)
    interval = expected.confidence_interval(0.95)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert found["difference"] == pytest.approx((ours - theirs).mean())
    assert (found["difference_low_95"], found["difference_high_95"]) == pytest.approx(interval)


def test_only_common_seeds_are_compared_in_whatever_order_they_come() -> None:
    ours = pd.Series({3: 0.5, 1: 0.9, 0: 0.4, 7: 0.0})
    theirs = pd.Series({0: 0.3, 1: 0.6, 3: 0.45, 9: 1.0})
    found = compare_paired(ours, theirs)
    assert found == compare_paired(ours[[0, 1, 7, 3]], theirs[[9, 3, 1, 0]])
    assert found["num_pairs"] == 3
    assert found["difference"] == pytest.approx((0.05 + 0.3 + 0.1) / 3)


def test_swapping_the_sides_turns_the_difference_round() -> None:
    ours, theirs = by_seed(0.1, 0.5, 0.3), by_seed(0.2, 0.2, 0.1)
    forth, back = compare_paired(ours, theirs), compare_paired(theirs, ours)
    assert back["difference"] == pytest.approx(-forth["difference"])
    assert back["difference_low_95"] == pytest.approx(-forth["difference_high_95"])
    assert back["p_value"] == pytest.approx(forth["p_value"])


def test_differences_without_scatter_are_judged_only_where_they_are_0() -> None:
    values = by_seed(0.1, 0.7, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        equal = compare_paired(values, values)
        # In binary these differ in the last digit.
        shifted = compare_paired(values + 0.1, values)
    assert (equal["difference"], equal["p_value"]) == (0.0, 1.0)
    assert shifted["difference"] == pytest.approx(0.1) and math.isnan(shifted["p_value"])
    for found in (equal, shifted):
        assert math.isnan(found["difference_low_95"]) and math.isnan(found["difference_high_95"])


@pytest.mark.parametrize("values", [[0.3] * 4, [0.0, 0.0], [0.1 + 0.2, 0.3]])
def test_equal_values_have_no_interval(values: list[float]) -> None:
    found = summarise(values)
    assert found["mean"] == pytest.approx(values[0]) and found["std"] == pytest.approx(0)
    assert math.isnan(found["low_95"]) and math.isnan(found["high_95"])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pairs_are_not_judged(count: int) -> None:
    found = compare_paired(by_seed(0.5, 0.6), by_seed(*[0.4] * count))
    assert found["num_pairs"] == count
    assert math.isnan(found["difference"]) == (count == 0)
    assert all(math.isnan(found[name]) for name in ("difference_low_95", "p_value"))


def adjust_slowly(p_values: list[float]) -> list[float]:
    """Return, for each p, the smallest level at which Holm's steps reject it."""
    ordered = sorted(p_values)
    steps = [(len(ordered) - i) * p for i, p in enumerate(ordered)]
    return [min(1.0, max(steps[: ordered.index(p) + 1])) for p in p_values]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_p_is_that_of_its_steps(p_values: list[float]) -> None:
    adjusted = adjust_by_holm(p_values)
    assert adjusted == pytest.approx(adjust_slowly(p_values))
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))


def test_a_p_that_is_not_known_is_not_counted() -> None:
    adjusted = adjust_by_holm([math.nan, 0.01, 0.04])
    assert math.isnan(adjusted[0]) and adjusted[1:] == pytest.approx([0.02, 0.04])


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_intervals_cover_what_is_true(count: int) -> None:
    num_studies = 1000
    generator = np.random.default_rng(count)
    covered = np.zeros(3)
    for _ in range(num_studies):
        of_seeds = generator.normal(size=count)
        theirs = by_seed(*(of_seeds + generator.normal(size=count)))
        ours = by_seed(*(0.7 + of_seeds + generator.normal(size=count)))
        mean, pairs = summarise(ours.tolist()), compare_paired(ours, theirs)
        p_value = compare_paired(ours - 0.7, theirs)["p_value"]
        covered += [
            mean["low_95"] < 0.7 < mean["high_95"],
            pairs["difference_low_95"] < 0.7 < pairs["difference_high_95"],
            p_value > 0.05,
        ]
    three_errors = 3 * math.sqrt(0.95 * 0.05 / num_studies)
    assert covered / num_studies == pytest.approx([0.95] * 3, abs=three_errors)
