"""Curves, confusion and bars: what is drawn is what the tables say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.tables import build_class_table
from dcal.visual.confusion import draw_class_accuracies, draw_confusion, shorten_name
from dcal.visual.curves import describe_curves, draw_curves, list_panels
from dcal.visual.figures import PAGE_COLOURS, figure_to_svg
from tests.visual.fixtures import make_history


def make_classes(num_classes: int) -> pd.DataFrame:
    labels = np.repeat(np.arange(num_classes), 4)
    predictions = np.where(np.arange(len(labels)) % 4 < labels % 4, (labels + 1) % 3, labels)
    table = pd.DataFrame({"label": labels, "sa_prediction": predictions})
    names = [f"class_{label}_of_$many$" for label in range(num_classes)]
    return build_class_table(table, names, branches=["sa"])


def test_a_history_with_all_branches_has_four_panels() -> None:
    panels = list_panels(make_history())
    titles = ["Loss", "Top-1 accuracy", "Loss weights", "Learning rate"]
    assert [panel.title for panel in panels] == titles


def test_panels_without_a_logged_point_are_left_out() -> None:
    history = make_history(branches=("sa",)).drop(columns=["train/log_variance/sa"])
    assert "Loss weights" not in [panel.title for panel in list_panels(history)]


def test_every_logged_point_is_drawn() -> None:
    history = make_history()
    for panel in list_panels(history):
        lines = draw_curves(history, panel).axes[0].get_lines()
        keys = [*panel.keys, *(key for keys in panel.scored_keys.values() for key in keys)]
        expected = [history[key].dropna().to_numpy() for key in keys if key in history]
        drawn = [np.asarray(line.get_ydata()) for line in lines if len(line.get_ydata())]
        assert len(drawn) == len(expected)
        for values in expected:
            assert any(len(line) == len(values) and np.allclose(line, values) for line in drawn)


def test_scores_on_the_test_split_are_named_as_such() -> None:
    history = make_history().rename(columns=lambda name: name.replace("val/", "test/"))
    panel = list_panels(history)[1]
    assert "SA + GLCA, test split from" in describe_curves(history, panel)
    assert "held out" not in describe_curves(history, panel)


def test_the_legend_lies_on_no_curve() -> None:
    history = make_history()
    for panel in list_panels(history):
        figure = draw_curves(history, panel)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        num_curves = sum(len(line.get_xdata()) > 0 for line in axes.get_lines())
        assert axes.get_legend() is None
        assert len(figure.legends) == (num_curves > 1)
        for legend in figure.legends:
            assert len(legend.get_texts()) == num_curves
            box = legend.get_window_extent()
            assert box.y0 >= 0 and box.x0 >= 0 and box.x1 <= figure.bbox.x1
            assert box.y1 <= axes.get_tightbbox().y0


def test_a_curve_of_one_point_gets_a_mark() -> None:
    history = make_history().head(1)
    lines = draw_curves(history, list_panels(history)[0]).axes[0].get_lines()
    assert {line.get_marker() for line in lines if len(line.get_xdata())} == {"o"}


def test_a_history_without_the_panels_columns_is_refused() -> None:
    panel = list_panels(make_history())[0]
    with pytest.raises(ValueError, match="expected one of the columns train/sa/loss"):
        draw_curves(pd.DataFrame({"step": [1], "epoch": [0]}), panel)


def test_confusion_shows_shares_of_the_true_class_and_survives_an_absent_one() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    figure = draw_confusion(confusion, ["a", "b", "c"], branch="both")
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0.5, 0, 0.5]]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


@pytest.mark.parametrize(("num_classes", "num_bars"), [(5, 5), (90, 40)])
def test_bars_show_the_lowest_classes_first_each_with_its_counts(
    num_classes: int, num_bars: int
) -> None:
    figure = draw_class_accuracies(make_classes(num_classes), branch="sa", chance=0.2)
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert len(widths) == num_bars and widths == sorted(widths)
    assert figure.axes[0].texts[0].get_text() == "1/4"


def test_names_are_cut_in_their_middle() -> None:
    assert shorten_name("short_name") == "short name"
    cut = shorten_name("a_very_long_name_that_ends_in_plain", length=20)
    assert len(cut) <= 20 and cut.startswith("a very") and cut.endswith("plain")


def test_an_svg_is_well_formed_described_and_takes_its_colours_from_the_page() -> None:
    history = make_history()
    panel = list_panels(history)[0]
    text = figure_to_svg(draw_curves(history, panel), description='loss & "more" <b>')
    root = ElementTree.fromstring(
        text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    )
    assert root.get("aria-label") == 'loss & "more" <b>'
    assert root.get("role") == "img"
    assert root.get("viewBox") and root.get("width") is None
    assert not set(re.findall(r"#[0-9a-f]{6}\b", text)) & set(PAGE_COLOURS)
    assert "var(--sa)" in text and "var(--ink)" in text
    assert "<style" not in text and "<metadata" not in text


def test_a_dollar_in_a_class_name_is_no_formula() -> None:
    figure = draw_class_accuracies(make_classes(3), branch="sa", chance=0.3)
    text = figure_to_svg(figure, description="bars")
    assert "class 0 of $many$" in text


def test_the_same_drawing_gives_the_same_svg() -> None:
    history = make_history()
    texts = [
        figure_to_svg(draw_curves(history, list_panels(history)[3]), description="lr")
        for _ in range(2)
    ]
    assert texts[0] == texts[1]
