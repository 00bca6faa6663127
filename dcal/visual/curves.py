"""Curves of a training run, drawn from its history (ours)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from dcal.analysis.tables import BRANCHES, select_curves
from dcal.visual.figures import (
    BRANCH_COLOURS,
    BRANCH_NAMES,
    INK,
    MUTED,
    house_style,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Splits that may be scored after each epoch; `test` only where train.selection asks for it.
_SPLIT_NAMES = {"val": "held out", "test": "test split"}


_LEGEND_COLUMNS, _LEGEND_ROW = 2, 0.19  # inches a row


class CurvePanel(NamedTuple):
    """One drawing: its heading, what its values are, and the columns that it shows."""

    title: str
    unit: str
    keys: Mapping[str, str]  # column of the history -> branch, or the word `total`
    scored_keys: Mapping[str, Mapping[str, str]]  # split -> the same, drawn dashed


def list_panels(history: pd.DataFrame) -> list[CurvePanel]:
    """Return the panels that a history has curves for, in the order of the report."""
    panels = [
        CurvePanel(
            "Loss",
            "loss",
            {**_branch_keys("train/{}/loss"), "train/loss": "total"},
            _scored_keys("loss"),
        ),
        CurvePanel(
            "Top-1 accuracy",
            "share of pictures",
            _branch_keys("train/{}/top1_accuracy"),
            _scored_keys("top1_accuracy"),
        ),
        CurvePanel("Mean AP", "mean AP, held out", {}, _scored_keys("mean_ap")),
        CurvePanel(
            "Loss weights", "log-variance w of each loss", _branch_keys("train/log_variance/{}"), {}
        ),
        CurvePanel("Learning rate", "learning rate", {"train/lr": "total"}, {}),
    ]
    return [panel for panel in panels if not select_panel(history, panel).empty]


def draw_curves(history: pd.DataFrame, panel: CurvePanel) -> Figure:
    """Draw one panel of a training history over its steps.

    Raises:
        ValueError: The history has none of the panel's columns.
    """
    import seaborn

    curves = select_panel(history, panel)
    if curves.empty:
        raise ValueError(
            f"history: expected one of the columns {', '.join(panel.keys)}; "
            f"got {', '.join(history.columns)}"
        )
    with house_style():
        handles = _build_handles(curves)
        num_rows = math.ceil(len(handles) / _LEGEND_COLUMNS) if len(handles) > 1 else 0
        figure = new_figure(4.6, 2.7 + _LEGEND_ROW * num_rows)
        axes = figure.add_subplot()
        seaborn.lineplot(
            data=curves,
            x="step",
            y="value",
            hue="curve",
            style="kind",
            palette={**BRANCH_COLOURS, "total": INK},
            dashes={"training": "", **dict.fromkeys(_SPLIT_NAMES.values(), (4, 1.6))},
            errorbar=None,
            legend=False,
            ax=axes,
        )
        _mark_single_points(axes)
        axes.set(xlabel="step", ylabel=panel.unit, title=panel.title)
        axes.margins(x=0.01)
        if num_rows:
            # Beside the curves, wherever they run.
            figure.legend(
                handles=handles,
                loc="outside lower center",
                ncols=_LEGEND_COLUMNS,
                labelcolor=MUTED,
            )
    return figure


def describe_curves(history: pd.DataFrame, panel: CurvePanel) -> str:
    """Say in words where each curve of a panel begins and ends."""
    parts = []
    for (name, kind), points in select_panel(history, panel).groupby(["curve", "kind"], sort=False):
        label = _label(str(name), str(kind))
        first, last = points["value"].iloc[0], points["value"].iloc[-1]
        parts.append(f"{label} from {first:.3g} to {last:.3g}")
    return f"{panel.title} over the training steps: " + "; ".join(parts)


def _branch_keys(pattern: str) -> dict[str, str]:
    return {pattern.format(branch): branch for branch in BRANCHES}


def _scored_keys(metric: str) -> dict[str, dict[str, str]]:
    return {split: _branch_keys(f"{split}/{{}}/{metric}") for split in _SPLIT_NAMES}


def select_panel(history: pd.DataFrame, panel: CurvePanel) -> pd.DataFrame:
    """Return a panel's points: step, curve, value, and kind, which is training or a split."""
    training = select_curves(history, panel.keys).assign(kind="training")
    parts = [training]
    for split, keys in panel.scored_keys.items():
        parts.append(select_curves(history, keys).assign(kind=_SPLIT_NAMES[split]))
    return pd.concat([part for part in parts if len(part)] or [training])


def _label(name: str, kind: str) -> str:
    shown = BRANCH_NAMES.get(name, name)
    return shown if kind == "training" else f"{shown}, {kind}"


def _mark_single_points(axes: Axes) -> None:
    # A line through one point is invisible.
    for line in axes.get_lines():
        if len(np.asarray(line.get_xdata())) == 1:
            line.set_marker("o")


def _build_handles(curves: pd.DataFrame) -> list[Line2D]:
    from matplotlib.lines import Line2D

    found = curves[["curve", "kind"]].drop_duplicates().itertuples(index=False)
    return [
        Line2D(
            [],
            [],
            color=BRANCH_COLOURS.get(str(name), INK),
            linestyle="-" if kind == "training" else (0, (4, 1.6)),
            label=_label(str(name), str(kind)),
        )
        for name, kind in found
    ]
