"""Pictures of ablations: what is drawn where."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dcal.analysis.ablations import summarise_scores
from dcal.analysis.generalisation import Pair, compare_over_epochs, compute_gaps
from dcal.analysis.regularisation import select_loss_weights
from dcal.visual.ablations import (
    PALETTE,
    describe_forest,
    draw_bands,
    draw_cost,
    draw_differences,
    draw_forest,
    draw_loss_weights,
    draw_seeds,
)
from dcal.visual.figures import BRANCH_COLOURS
from tests.analysis.studies import simulate_curves, simulate_scores

SCORES = simulate_scores({"dcal": 0.0, "no_glca": 0.02, "sa_only": -0.03}, seeds=(0, 1, 2))
SCORE = "top1_accuracy"


def test_a_forest_has_a_point_and_an_interval_a_row_but_none_of_the_baseline() -> None:
    table = summarise_scores(SCORES, baseline="dcal")
    (axes,) = draw_forest(table, score=SCORE, baseline="dcal").axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["sa_only, SA (3)", "no_glca, SA (3)"]  # from below
    rows = table.set_index("arm")
    zero, *lines = axes.lines
    assert set(zero.get_xdata()) == {0}
    for (interval, point), arm in zip(
        zip(lines[::2], lines[1::2], strict=True), ("sa_only", "no_glca"), strict=True
    ):
        low, high = 100 * rows.loc[arm, ["difference_low_95", "difference_high_95"]]
        assert list(interval.get_xdata()) == pytest.approx([low, high])
        assert point.get_xdata()[0] == pytest.approx(100 * rows.loc[arm, "difference"])
    assert "dcal" in axes.get_xlabel() and "95 %" in axes.get_xlabel()
    said = describe_forest(table, score=SCORE)
    assert f"sa_only, SA {100 * rows.loc['sa_only', 'difference']:+.1f}" in said


def test_every_seed_is_a_dot_and_the_mean_a_line() -> None:
    order = [("dcal", "sa"), ("sa_only", "sa"), ("gone", "sa")]
    (axes,) = draw_seeds(SCORES, score=SCORE, order=order).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["dcal, SA", "sa_only, SA"]
    top, bottom = axes.get_ylim()[::-1]
    assert top < 0 < 1 < bottom  # the first row on top
    for place, arm in enumerate(("dcal", "sa_only")):
        values = 100 * SCORES[SCORES["arm"] == arm]["value"]
        dots = axes.collections[place].get_offsets()
        assert sorted(dots[:, 0]) == pytest.approx(sorted(values))
        assert set(dots[:, 1]) == {place}
        assert axes.lines[place].get_xdata()[0] == pytest.approx(values.mean())


def test_bands_reach_from_the_lowest_seed_to_the_highest_and_lines_keep_their_colour() -> None:
    rows = [(b, s, e, 1.0 + s + e) for b in ("sa", "x") for s in (0, 1) for e in (0, 1)]
    values = pd.DataFrame(rows, columns=["branch", "seed", "epoch", "value"])
    alone = values[values["branch"] == "x"]
    figure = draw_bands(
        [("one", values), ("two", alone)],
        lines=["sa", "x", "gone"],
        by="branch",
        y_label="loss",
        is_log=True,
    )
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one", "two"]
    assert first.get_yscale() == "log" and first.get_ylabel() == "loss"
    (line,) = list_drawn(second)
    assert list(line.get_xdata()) == [1, 2] and list(line.get_ydata()) == [1.5, 2.5]
    colours = [line.get_color() for line in (*list_drawn(first), line)]
    assert colours == [BRANCH_COLOURS["sa"], PALETTE[1], PALETTE[1]]
    band = first.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1.0, 3.0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sa", "x"]
    figure.draw_without_rendering()
    assert "1" in [label.get_text() for label in first.get_yticklabels()]  # and no formula


def list_drawn(axes: Axes) -> list[Line2D]:
    """Leave out the lines that only stand for an entry of a legend."""
    return [line for line in axes.lines if len(line.get_xdata())]


def test_a_paired_difference_has_its_interval_at_each_epoch() -> None:
    gaps = compute_gaps(simulate_curves(noise=0.02))
    pair = Pair("dcal", "no_pwca")
    table = compare_over_epochs(gaps, pair, "gap")
    empty = compare_over_epochs(gaps[:0], pair, "gap")
    figure = draw_differences([(pair.name, table), ("none", empty)], y_label="gap")
    axes, other = figure.axes
    assert axes.get_title(loc="left") == "dcal less no_pwca (5)" and len(list_drawn(other)) == 1
    zero, line = axes.lines
    assert set(zero.get_ydata()) == {0}
    assert list(line.get_xdata()) == list(range(1, 13))
    assert list(line.get_ydata()) == pytest.approx(table["difference"].tolist())
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(table["difference_high_95"].max())


def test_cost_is_drawn_beside_the_score_for_arms_that_have_both() -> None:
    cost = pd.DataFrame(
        {
            "ratio": [1.0, 0.5, float("nan")],
            "mean": [0.9, 0.8, 0.7],
            "low_95": [0.85, 0.75, 0.65],
            "high_95": [0.95, 0.85, 0.75],
        },
        index=["dcal", "sa_only", "gone"],
    )
    figure = draw_cost(cost, score=SCORE, baseline="dcal")
    (axes,) = figure.axes
    assert axes.collections[0].get_offsets().tolist() == [[1.0, 90.0], [0.5, 80.0]]
    assert list(axes.lines[1].get_ydata()) == [75.0, 85.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dcal", "sa_only"]
    (axes,) = draw_cost(cost[2:], score=SCORE, baseline="dcal").axes
    assert axes.get_xlabel() == "time of training over dcal's"


def test_nothing_to_compare_is_an_empty_forest() -> None:
    table = summarise_scores(SCORES[SCORES["arm"] == "dcal"], baseline="dcal")
    (axes,) = draw_forest(table, score=SCORE, baseline="dcal").axes
    assert len(axes.lines) == 1
    assert describe_forest(table, score=SCORE).endswith("no row")
    (axes,) = draw_seeds(SCORES[:0], score=SCORE, order=[("dcal", "sa")]).axes
    assert not axes.collections


def test_weights_of_the_losses_are_a_panel_an_arm_and_a_line_a_branch() -> None:
    weights = select_loss_weights(simulate_curves(), ["dcal", "no_pwca"])
    figure = draw_loss_weights(weights)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["dcal", "no_pwca"]
    colours = [{line.get_color() for line in axes.lines} for axes in figure.axes]
    assert colours == [{BRANCH_COLOURS["sa"], BRANCH_COLOURS["pwca"]}, {BRANCH_COLOURS["sa"]}]
