"""An index drawn: how even its groups are, which cameras meet, how large pictures are (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dcal.analysis.picture_sizes import InputSize
from dcal.visual.figures import INK, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# No colour that stands for a branch; query and gallery are in no data set that has test.
SPLIT_COLOURS = {
    "train": "#1f8a8a",
    "val": "#9a7412",
    "test": "#b83a5e",
    "query": "#b83a5e",
    "gallery": "#4a5568",
}
MAX_POINTS = 400  # of different sizes; more are binned
MAX_WRITTEN = 12  # cameras of a side whose counts can still be read
_WIDTH = 7.5  # inches


def draw_balance(
    groups: pd.DataFrame, *, of: str, columns: Sequence[str] = ("pictures",)
) -> Figure:
    """Draw pictures (and cameras) of each class or identity, the largest first.

    Args:
        groups: Of `dcal.analysis.data_counts.count_groups`.
        of: What the groups are called: classes or identities.
        columns: A panel each.
    """
    names = {"pictures": "pictures", "cameras": "cameras that saw it"}
    with house_style():
        figure = new_figure(_WIDTH, 2.8)
        panels = figure.subplots(1, len(columns), squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            for split, part in groups.groupby("split", sort=False):
                counts = np.sort(part[column].to_numpy())[::-1]
                edges = np.arange(len(counts) + 1) + 0.5
                axes.stairs(
                    counts, edges, label=str(split), color=SPLIT_COLOURS[str(split)],
                    baseline=None, linewidth=1.6,
                )  # fmt: skip
            axes.set(xlabel=f"{of}, the largest first", ylabel=names[column])
            axes.set_ylim(0, 1.1 * max(1, groups[column].max()))
            _use_whole_numbers(axes)
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def describe_balance(summary: pd.DataFrame, *, of: str) -> str:
    """Say in words how far the lines of `draw_balance` fall, by `summarise_groups`."""
    parts = [
        f"{split} {row['most']:.0f} to {row['fewest']:.0f}" for split, row in summary.iterrows()
    ]
    return f"Pictures of the {of}, the largest first: {', '.join(parts)}"


def draw_camera_pairs(pairs: pd.DataFrame) -> Figure:
    """Draw how many right pairs there are from each query camera to each gallery camera.

    Args:
        pairs: Of `dcal.analysis.data_counts.count_camera_pairs`.
    """
    import seaborn

    is_written = max(pairs.shape) <= MAX_WRITTEN
    cell = 0.5 if is_written else 0.26
    with house_style():
        figure = new_figure(1.6 + cell * pairs.shape[1], 1.0 + cell * pairs.shape[0])
        axes = figure.add_subplot()
        seaborn.heatmap(
            pairs, annot=is_written, fmt="d", cmap="Blues", vmin=0, cbar=not is_written,
            annot_kws={"fontsize": 7}, linewidths=0.5, xticklabels=True, yticklabels=True, ax=axes,
        )  # fmt: skip
        axes.set(xlabel="camera of the gallery picture", ylabel="camera of the query")
        axes.tick_params(axis="y", rotation=0)
    return figure


def draw_sizes(table: pd.DataFrame, size: InputSize) -> Figure:
    """Draw width by height and the shapes of all pictures, beside what they are resized to.

    Args:
        table: The index.
        size: What its scored pictures are resized to.
    """
    with house_style():
        figure = new_figure(_WIDTH, 3.2)
        left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
        _draw_points(left, table)
        left.plot(size.width, size.height, "+", color=INK, markersize=11, markeredgewidth=1.8)
        left.set(xlabel="width, pixels", ylabel="height, pixels (+: resized to)")
        left.set_xlim(0, 1.08 * max(table["width"].max(), size.width))
        left.set_ylim(0, 1.08 * max(table["height"].max(), size.height))
        left.grid(axis="x")
        _draw_shapes(right, table, size)
    return figure


def describe_sizes_drawn(size: InputSize) -> str:
    """Say in words what `draw_sizes` drew."""
    beside = f"{size.width} x {size.height}"
    return f"Width by height of all pictures, and their shapes, beside {beside}"


def _draw_points(axes: Axes, table: pd.DataFrame) -> None:
    counts = table.groupby(["width", "height"]).size()
    widths, heights = (counts.index.get_level_values(side) for side in ("width", "height"))
    colour = SPLIT_COLOURS["train"]
    if len(counts) > MAX_POINTS:
        axes.hexbin(
            table["width"], table["height"], gridsize=36, bins="log", mincnt=1, cmap="viridis_r",
            linewidths=0.2,
        )  # fmt: skip
        axes.set_title("Sizes; the darker, the more pictures")
        return
    areas = 14 + 90 * counts.to_numpy() / counts.max()
    axes.scatter(widths, heights, s=areas, color=colour, alpha=0.55, linewidths=0)
    axes.set_title(f"{len(counts)} different size{'' if len(counts) == 1 else 's'}")


def _draw_shapes(axes: Axes, table: pd.DataFrame, size: InputSize) -> None:
    shapes = np.log2((table["width"] / table["height"]).to_numpy())
    target = float(np.log2(size.width / size.height))
    reach = max(1.0, float(np.abs(shapes - target).max()) * 1.05)
    bins: Any = np.linspace(target - reach, target + reach, 42)
    axes.hist(shapes, bins=bins, color=SPLIT_COLOURS["train"])
    axes.axvline(target, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    places = np.linspace(target - reach, target + reach, 5)
    axes.set_xticks(places, [f"{2**place:.2f}" for place in places])
    axes.set(xlabel="width / height (dotted: resized to)", ylabel="pictures")
    axes.set_title("Shapes")
    axes.tick_params(colors=MUTED)


def _use_whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
