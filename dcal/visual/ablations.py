"""Ablations drawn: differences with intervals, seeds one by one, curves over epochs (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dcal.visual.figures import BRANCH_COLOURS, BRANCH_NAMES, INK, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = [*BRANCH_COLOURS.values(), "#8a6d1d", "#2a8c8c", "#a33b5e", MUTED]
_ROW = 0.34  # inches
_WIDTH = 7.5


def draw_forest(table: pd.DataFrame, *, score: str, baseline: str) -> Figure:
    """Draw each row's paired difference from the baseline, in points, with its 95 % interval.

    Args:
        table: Of `dcal.analysis.ablations.summarise_scores`.
        score: The metric that is drawn.
        baseline: Named on the axis.
    """
    rows = table[(table["metric"] == score) & table["difference"].notna()].iloc[::-1]
    with house_style():
        figure = new_figure(_WIDTH, 1.1 + _ROW * max(len(rows), 1))
        axes = figure.add_subplot()
        axes.grid(axis="x")
        axes.grid(axis="y", visible=False)
        axes.axvline(0, color=INK, linewidth=1)
        for place, (_, row) in enumerate(rows.iterrows()):
            colour = BRANCH_COLOURS.get(row["branch"], MUTED)
            low, high = 100 * row["difference_low_95"], 100 * row["difference_high_95"]
            axes.plot([low, high], [place, place], color=colour)
            axes.plot(100 * row["difference"], place, "o", color=colour, markersize=5)
        axes.set_yticks(range(len(rows)), _label(zip(rows["arm"], rows["branch"], strict=True)))
        axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
        axes.set_xlabel(f"{name_score(score)} less that of {baseline}, points; 95 % over seeds")
    return figure


def draw_seeds(scores: pd.DataFrame, *, score: str, order: Sequence[tuple[str, str]]) -> Figure:
    """Draw the score of every seed, and each row's mean as a line.

    Args:
        scores: A row an arm, seed, branch and metric.
        score: The metric that is drawn.
        order: Arm and branch of each row, first row on top.
    """
    chosen = scores[scores["metric"] == score]
    groups = {key: of["value"].to_numpy() for key, of in chosen.groupby(["arm", "branch"])}
    rows = [key for key in order if key in groups][::-1]
    with house_style():
        figure = new_figure(_WIDTH, 1.1 + _ROW * max(len(rows), 1))
        axes = figure.add_subplot()
        axes.grid(axis="x")
        axes.grid(axis="y", visible=False)
        for place, key in enumerate(rows):
            values = 100 * groups[key]
            colour = BRANCH_COLOURS.get(key[1], MUTED)
            axes.plot(values, np.full(len(values), place), "o", color=colour, alpha=0.55)
            axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=2)
        axes.set_yticks(range(len(rows)), _label(rows))
        axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
        axes.set_xlabel(f"{name_score(score)} on test, %; a dot a seed, a line the mean")
    return figure


def draw_bands(
    panels: Sequence[tuple[str, pd.DataFrame]],
    *,
    arms: Sequence[str],
    y_label: str,
    is_log: bool = False,
) -> Figure:
    """Draw values over epochs, a panel each: the mean over seeds, and from lowest to highest.

    Args:
        panels: Title, and a row an arm, seed and epoch with the column value.
        arms: Drawn in this order, each in one colour in all panels.
        y_label: Of the first panel.
        is_log: Draw values on a logarithmic axis.
    """
    with house_style():
        figure = new_figure(_WIDTH, 3.1)
        places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, values) in zip(places, panels, strict=True):
            axes.set_title(title)
            axes.set_xlabel("epoch")
            for arm, colour in zip(arms, _give_colours(arms), strict=True):
                _draw_band(axes, values[values["arm"] == arm], arm, colour)
        places[0].set_ylabel(y_label)
        if is_log:
            places[0].set_yscale("log")
        handles, labels = places[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(arms), 5))
    return figure


def name_score(score: str) -> str:
    """Return a metric's name for a reader."""
    return {"top1_accuracy": "Top-1", "mean_ap": "mAP"}.get(score, score)


def _label(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{arm}, {BRANCH_NAMES.get(branch, branch)}" for arm, branch in rows]


def _give_colours(arms: Sequence[str]) -> list[str]:
    return [BRANCH_COLOURS.get(a, PALETTE[i % len(PALETTE)]) for i, a in enumerate(arms)]


def _draw_band(axes: Axes, values: pd.DataFrame, arm: str, colour: str) -> None:
    if values.empty:
        return
    by_epoch = values.groupby("epoch")["value"]
    epochs = by_epoch.mean().index.to_numpy() + 1
    axes.plot(epochs, by_epoch.mean().to_numpy(), color=colour, label=arm)
    axes.fill_between(
        epochs, by_epoch.min().to_numpy(), by_epoch.max().to_numpy(), color=colour, alpha=0.15, lw=0
    )
