"""Pictures of a study show what its table says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcal.visual.studies import (
    StudyView,
    draw_front,
    draw_history,
    draw_importances,
    draw_pair,
    draw_parallel,
    draw_slice,
)

SCORE = "val/both/top1_accuracy"
KEYS = ["model.readout", "model.top_r", "train.lr"]


def make_view(*, is_larger_better: bool = True, **changes: Any) -> StudyView:
    """Return five trials: three with a value, one pruned, one failed; top_r is conditional."""
    trials = pd.DataFrame(
        {
            "number": [0, 1, 2, 3, 5],
            "state": ["complete", "complete", "pruned", "failed", "complete"],
            SCORE: [0.5, 0.8, None, None, 0.7],
            "model.readout": ["class", "local", "class", "local", "local"],
            "model.top_r": [None, 0.3, None, 0.5, 0.9],
            "train.lr": [1e-3, 1e-4, 1e-2, 1e-3, 1e-2],
        }
    ).assign(**changes)
    return StudyView(trials, SCORE, is_larger_better, KEYS, frozenset({"train.lr"}))


@pytest.mark.parametrize(
    ("is_larger_better", "expected"), [(True, [0.5, 0.8, 0.8]), (False, [0.5, 0.5, 0.5])]
)
def test_the_history_has_every_value_and_the_best_so_far(
    is_larger_better: bool, expected: list[float]
) -> None:
    axes = draw_history(make_view(is_larger_better=is_larger_better)).axes[0]
    values, best, pruned, failed = axes.get_lines()
    assert list(values.get_xdata()) == [0, 1, 5] and list(values.get_ydata()) == [0.5, 0.8, 0.7]
    assert list(best.get_ydata()) == expected
    assert (list(pruned.get_xdata()), list(failed.get_xdata())) == ([2], [3])


def test_the_front_is_drawn_apart_from_what_it_beats() -> None:
    view = make_view(cost=[2.0, 3.0, None, None, 1.0])
    axes = draw_front(view, "cost", front=[1, 5]).axes[0]
    beaten, best, line = axes.get_lines()
    assert (list(beaten.get_xdata()), list(beaten.get_ydata())) == ([2.0], [0.5])
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([1.0, 3.0], [0.7, 0.8])
    assert list(line.get_xdata()) == [1.0, 3.0]
    assert [text.get_text() for text in axes.texts] == ["5", "1"]


def test_a_study_without_a_value_has_a_history_all_the_same() -> None:
    axes = draw_history(make_view(state="failed")).axes[0]
    assert list(axes.get_lines()[-1].get_xdata()) == [0, 1, 2, 3, 5]


def test_what_mattered_is_drawn_by_both_methods_the_largest_on_top() -> None:
    shares = {"ped_anova": {"a": 0.2, "b": 0.8}, "fanova": {"a": 0.4, "b": 0.6}}
    axes = draw_importances({"n": 7, "importances": {SCORE: shares}}, SCORE).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [bar.get_width() for bar in axes.patches] == [0.2, 0.8, 0.4, 0.6]
    assert axes.get_title(loc="left") == "What mattered, n = 7"
    group = {"n": 5, "when": {"c": ["d", "e"]}, "importances": {SCORE: shares}}
    title = draw_importances(group, SCORE).axes[0].get_title(loc="left")
    assert title == "What mattered, n = 5\nc: d, e"


def test_a_method_that_could_not_be_computed_is_drawn_as_nothing() -> None:
    shares: dict[str, dict[str, float]] = {"ped_anova": {"a": 1.0}, "fanova": {}}
    axes = draw_importances({"n": 4, "importances": {SCORE: shares}}, SCORE).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 0.0]


def test_a_slice_leaves_out_trials_that_did_not_search_the_key() -> None:
    axes = draw_slice(make_view(), "model.top_r").axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    assert points.tolist() == [[0.3, 0.8], [0.9, 0.7]]
    assert draw_slice(make_view(), "train.lr").axes[0].get_xscale() == "log"


def test_a_slice_over_names_has_a_place_for_each() -> None:
    axes = draw_slice(make_view(), "model.readout").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["class", "local"]
    points = np.asarray(axes.collections[0].get_offsets())
    assert points.tolist() == [[0, 0.5], [1, 0.8], [1, 0.7]]


def test_a_map_shows_the_trials_that_have_both_keys() -> None:
    points = draw_pair(make_view(), "model.top_r", "train.lr").axes[0].collections[0]
    assert np.asarray(points.get_offsets()).tolist() == [[0.3, 1e-4], [0.9, 1e-2]]
    assert np.asarray(points.get_array()).tolist() == [0.8, 0.7]


def test_parallel_lines_go_from_the_lowest_to_the_highest_value_of_each_key() -> None:
    axes = draw_parallel(make_view()).axes[0]
    drawn = [list(line.get_ydata()) for line in axes.get_lines() if len(line.get_xdata()) == 3]
    # The best comes last, so that it lies on top.
    assert [row[0] for row in drawn] == [0, 1, 1]
    assert [row[1] for row in drawn] == [-0.15, 1, 0]
    assert np.allclose([row[2] for row in drawn], [0.5, 1, 0])


@pytest.mark.parametrize("num_trials", [1, 2])
def test_few_trials_are_drawn_too(num_trials: int) -> None:
    view = make_view()
    view = view._replace(trials=view.trials.head(num_trials))
    for figure in (
        draw_history(view),
        draw_parallel(view),
        draw_slice(view, "model.top_r"),
        draw_pair(view, "model.top_r", "train.lr"),
    ):
        figure.canvas.draw()
