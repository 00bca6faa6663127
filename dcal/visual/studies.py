"""How a study went: its history, what mattered, and which values did well (ours)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dcal.visual.figures import BRANCH_COLOURS, GRID, INK, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINT, BEST, OTHER = BRANCH_COLOURS["sa"], BRANCH_COLOURS["glca"], BRANCH_COLOURS["pwca"]
METHODS = {"ped_anova": "PED-ANOVA", "fanova": "fANOVA"}
_MARKS = {"pruned": "x", "failed": "v"}
_ROW_HEIGHT = 0.42  # inches


class StudyView(NamedTuple):
    """A study's trials, and how to read them."""

    trials: pd.DataFrame  # a row a trial: number, state, the metric, the searched keys
    metric: str
    is_larger_better: bool
    keys: list[str]
    log_keys: frozenset[str]  # drawn on a logarithmic axis

    @property
    def complete(self) -> pd.DataFrame:
        """Return the trials that have a value."""
        return self.trials[self.trials["state"] == "complete"]


def draw_history(view: StudyView) -> Figure:
    """Draw the value of each finished trial, the best so far, and where others ended without."""
    from matplotlib.ticker import MaxNLocator

    done = view.complete.sort_values("number")
    values = done[view.metric].astype(float)
    best = values.cummax() if view.is_larger_better else values.cummin()
    with house_style():
        figure = new_figure(4.6, 2.7)
        axes = figure.add_subplot()
        axes.plot(done["number"], values, "o", color=POINT, markersize=4, label="complete")
        axes.step(done["number"], best, where="post", color=BEST, label="best so far")
        bottom = float(values.min()) if len(values) else 0.0
        for state, mark in _MARKS.items():
            numbers = view.trials.loc[view.trials["state"] == state, "number"]
            if len(numbers):
                axes.plot(numbers, [bottom] * len(numbers), mark, color=MUTED, label=state)
        axes.set(xlabel="trial", ylabel=view.metric, title="Trials")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(labelcolor=MUTED)
    return figure


def draw_front(view: StudyView, cost: str, front: Collection[int]) -> Figure:
    """Draw the value of each finished trial over what it costs, and the trials that none beats.

    Args:
        view: Of a study with two objectives.
        cost: The other objective.
        front: Numbers of the trials of the Pareto front.
    """
    done = view.complete.astype({cost: float, view.metric: float}).sort_values(cost)
    is_best = done["number"].isin(list(front))
    with house_style():
        figure = new_figure(4.6, 2.9)
        axes = figure.add_subplot()
        for chosen, colour, label in ((~is_best, MUTED, "beaten"), (is_best, BEST, "Pareto front")):
            rows = done[chosen]
            axes.plot(rows[cost], rows[view.metric], "o", color=colour, markersize=4, label=label)
        best = done[is_best]
        axes.step(best[cost], best[view.metric], where="post", color=BEST, linewidth=1)
        for _, row in best.iterrows():
            axes.annotate(
                f"{row['number']}",
                (row[cost], row[view.metric]),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
                color=INK,
            )
        axes.set(xlabel=cost, ylabel=view.metric, title="Trials that none beats, by number")
        axes.legend(labelcolor=MUTED)
    return figure


def draw_importances(importances: Mapping[str, Any], metric: str) -> Figure:
    """Draw how much each key mattered for a metric, by both methods.

    Args:
        importances: What results/tune/importance.json holds, or one entry of its `conditional`.
        metric: An objective.
    """
    shares = pd.DataFrame(importances["importances"][metric]).fillna(0.0)
    shares = shares.reindex(columns=list(METHODS), fill_value=0.0)
    shares = shares.iloc[shares.max(axis=1).argsort()]
    places = np.arange(len(shares))
    with house_style():
        figure = new_figure(5.2, 0.9 + _ROW_HEIGHT * len(shares))
        axes = figure.add_subplot()
        for offset, (method, colour) in enumerate(zip(METHODS, (POINT, BEST), strict=True)):
            axes.barh(
                places + 0.2 - 0.4 * offset,
                shares[method],
                height=0.36,
                color=colour,
                label=METHODS[method],
            )
        axes.set(yticks=places, xlim=(0, 1), xlabel="share")
        axes.set_yticklabels([str(key) for key in shares.index])
        axes.set_title(_describe_group(importances), fontsize=9)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=GRID)
        axes.legend(labelcolor=MUTED, loc="lower right")
    return figure


def draw_slice(view: StudyView, key: str) -> Figure:
    """Draw the value of each finished trial that searched a key over the key's value."""
    done = view.complete.dropna(subset=[key])
    with house_style():
        figure = new_figure(3.6, 2.7)
        axes = figure.add_subplot()
        places, _ = _place(axes, done[key], key, view, axis="x")
        axes.scatter(places, done[view.metric].astype(float), s=18, color=POINT)
        axes.set(xlabel=key, ylabel=view.metric)
    return figure


def draw_pair(view: StudyView, across: str, up: str) -> Figure:
    """Draw the value of finished trials over two keys; trials that lack one are left out."""
    done = view.complete.dropna(subset=[across, up])
    with house_style():
        figure = new_figure(4.4, 3.2)
        axes = figure.add_subplot()
        x, _ = _place(axes, done[across], across, view, axis="x")
        y, _ = _place(axes, done[up], up, view, axis="y")
        points = axes.scatter(x, y, c=done[view.metric].astype(float), s=36, cmap="viridis")
        axes.set(xlabel=across, ylabel=up)
        if len(done):
            figure.colorbar(points, ax=axes, label=view.metric)
    return figure


def draw_parallel(view: StudyView) -> Figure:
    """Draw each finished trial as a line over all keys, coloured by its value.

    Every key's own range is drawn from 0 to 1, and what a trial did not search lies below.
    """
    import matplotlib

    done = view.complete.sort_values(view.metric, ascending=view.is_larger_better)
    heights = pd.DataFrame({key: _scale(done[key], key in view.log_keys) for key in view.keys})
    values = done[view.metric].astype(float)
    colours = matplotlib.colormaps["viridis"](_scale(values, is_log=False).fillna(0.5))
    with house_style():
        figure = new_figure(max(4.6, 1.5 * len(view.keys)), 3.4)
        axes = figure.add_subplot()
        places = np.arange(len(view.keys))
        for row, colour in zip(heights.fillna(-0.15).to_numpy(), colours, strict=True):
            axes.plot(places, row, color=colour, linewidth=1.2)
        for place, key in enumerate(view.keys):
            axes.axvline(place, color=GRID, linewidth=0.8, zorder=0)
            _write_ends(axes, done[key], place)
        axes.set(xticks=places, yticks=[-0.15, 0, 1], ylim=(-0.22, 1.12), title="All keys")
        axes.set_yticklabels(["not searched", "lowest", "highest"])
        axes.set_xticklabels([key.replace(".", ".\n") for key in view.keys], fontsize=7)
        norm = matplotlib.colors.Normalize(values.min(), values.max())
        mappable = matplotlib.cm.ScalarMappable(norm=norm, cmap="viridis")
        figure.colorbar(mappable, ax=axes, label=view.metric)
    return figure


def _describe_group(importances: Mapping[str, Any]) -> str:
    title = f"What mattered, n = {importances['n']}"
    conditions = [
        f"{key}: {', '.join(map(str, values))}"
        for key, values in importances.get("when", {}).items()
    ]
    return "\n".join([title, *conditions])


def _place(
    axes: Axes, column: pd.Series[Any], key: str, view: StudyView, *, axis: str
) -> tuple[np.ndarray, list[str]]:
    """Return where values lie on an axis, and name those that are no numbers."""
    if _is_numeric(column):
        if key in view.log_keys and len(column):
            (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        return column.to_numpy(dtype=float), []
    names = sorted(column.astype(str).unique())
    ticks = list(range(len(names)))
    (axes.set_xticks if axis == "x" else axes.set_yticks)(ticks, names)
    (axes.set_xlim if axis == "x" else axes.set_ylim)(-0.5, max(len(names), 1) - 0.5)
    return column.astype(str).map(names.index).to_numpy(dtype=float), names


def _is_numeric(column: pd.Series[Any]) -> bool:
    known = column.dropna()
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known)


def _scale(column: pd.Series[Any], is_log: bool) -> pd.Series[Any]:
    """Return values of [0, 1], NaN where there is none."""
    if not _is_numeric(column):
        names = sorted(column.dropna().astype(str).unique())
        column = column.map(lambda v: np.nan if pd.isna(v) else names.index(str(v)))
    numbers = column.astype(float)
    numbers = numbers.map(np.log) if is_log else numbers
    low, high = numbers.min(), numbers.max()
    return (numbers - low) / (high - low) if high > low else numbers * 0 + 0.5


def _write_ends(axes: Axes, column: pd.Series[Any], place: int) -> None:
    known = column.dropna()
    if known.empty:
        return
    ends = (known.min(), known.max()) if _is_numeric(column) else _sorted_ends(known)
    for end, height, side in zip(ends, (-0.02, 1.02), ("top", "bottom"), strict=True):
        text = f"{end:.3g}" if isinstance(end, (int, float)) else str(end)
        axes.text(place, height, text, ha="center", va=side, fontsize=6.5, color=INK)


def _sorted_ends(known: pd.Series[Any]) -> tuple[str, str]:
    names = sorted(known.astype(str).unique())
    return names[0], names[-1]
