"""Where a ranking goes wrong: between cameras, at a distance, by one branch or another (ours)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dcal.visual.figures import BRANCH_COLOURS, BRANCH_NAMES, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A dashed line too, so that no reader depends on the colour.
_SIDES = {"right": ("#2b7a3b", "-"), "wrong": ("#b3261e", "--")}
_NUM_BINS = 30
_CELL = 0.48  # inches


def draw_camera_shares(shares: pd.DataFrame) -> Figure:
    """Draw how often the nearest picture of one camera is right for the queries of another.

    Args:
        shares: Of `dcal.analysis.ranking_texts.tabulate_cameras`; not empty.
    """
    import seaborn

    rows, columns = shares.shape
    with house_style():
        figure = new_figure(1.2 + max(2.4, _CELL * columns), 0.9 + max(1.4, _CELL * rows))
        axes = figure.add_subplot()
        seaborn.heatmap(
            shares, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="Blues", cbar=False,
            annot_kws={"fontsize": 8}, linewidths=0.5, ax=axes,
        )  # fmt: skip
        axes.set(xlabel="camera of the gallery", ylabel="camera of the query")
        axes.tick_params(axis="y", rotation=0)
        axes.grid(visible=False)  # it would go through cells that nobody asked
    return figure


def describe_camera_shares(shares: pd.DataFrame) -> str:
    """Say in words what `draw_camera_shares` drew."""
    low, high = np.nanmin(shares.to_numpy()), np.nanmax(shares.to_numpy())
    return (
        f"Rank-1 from each of {len(shares)} query cameras to each of {len(shares.columns)} gallery "
        f"cameras: {low:.2f} to {high:.2f}"
    )


def draw_nearest(distances: pd.DataFrame) -> Figure:
    """Draw how many queries have their nearest right and wrong picture at which distance.

    Args:
        distances: Of `dcal.inference.ranking_errors.measure_nearest`.
    """
    from matplotlib.ticker import MaxNLocator

    known = distances.to_numpy()
    edges = np.histogram_bin_edges(known[~np.isnan(known)], bins=_NUM_BINS)
    with house_style():
        figure = new_figure(7, 3)
        axes = figure.add_subplot()
        for side, (colour, line) in _SIDES.items():
            counts, _ = np.histogram(distances[side].dropna(), bins=edges)
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(counts, edges, color=colour, linestyle=line, label=f"nearest {side}")
        axes.set(xlabel="squared Euclidean distance", ylabel="queries")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def describe_nearest(distances: pd.DataFrame) -> str:
    """Say in words how far the two sides of `draw_nearest` are apart."""
    parts = [
        f"nearest {side} {distances[side].min():.3f} to {distances[side].max():.3f}, median "
        f"{distances[side].median():.3f}"
        for side in _SIDES
    ]
    return f"Distances of the queries: {'; '.join(parts)}"


def draw_precisions(queries: pd.DataFrame) -> Figure:
    """Draw each query's average precision by SA and by GLCA, a point a query.

    Args:
        queries: Of `dcal.inference.retrieval.build_query_table`, ranked by both branches.
    """
    with house_style():
        figure = new_figure(4, 4)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        axes.scatter(
            queries["sa_average_precision"], queries["glca_average_precision"], s=28,
            color=BRANCH_COLOURS["both"], alpha=0.6, linewidths=0,
        )  # fmt: skip
        axes.set(
            xlabel=f"average precision by {BRANCH_NAMES['sa']}", xlim=(-0.03, 1.03),
            ylabel=f"by {BRANCH_NAMES['glca']}", ylim=(-0.03, 1.03), aspect="equal",
        )  # fmt: skip
    return figure


def describe_precisions(queries: pd.DataFrame) -> str:
    """Say in words on which side of the diagonal of `draw_precisions` the queries lie."""
    difference = queries["glca_average_precision"] - queries["sa_average_precision"]
    return (
        f"Average precision of {int(difference.notna().sum())} queries by SA and by GLCA: GLCA is "
        f"better for {int((difference > 0).sum())}, SA for {int((difference < 0).sum())}"
    )
