"""How ranking went: CMC curves, and the identities that are hardest to find (ours)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dcal.metrics.ranking import compute_cmc
from dcal.visual.figures import BRANCH_COLOURS, BRANCH_NAMES, GRID, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SHOWN_RANK = 20
MAX_NAMED_IDENTITIES = 30
_CURVE_WIDTHS = (3.8, 2.4, 1.2)  # points; the last is drawn on top
_BAR_HEIGHT = 0.19  # inches


def list_ranked_branches(queries: pd.DataFrame) -> list[str]:
    """Return the branches that a table of queries was ranked by; the last stands for the model."""
    return [branch for branch in BRANCH_NAMES if f"{branch}_first_rank" in queries]


def draw_cmc(queries: pd.DataFrame, *, num_gallery: int) -> Figure:
    """Draw the share of valid queries with a right picture among the first k, for each branch.

    A later branch is a thinner line, so that of equal curves each is seen.

    Args:
        queries: What the evaluate stage wrote: a row a query with `<branch>_first_rank`.
        num_gallery: Pictures that were ranked: k goes no further, nor beyond 20.
    """
    max_rank = min(MAX_SHOWN_RANK, num_gallery)
    ranks = np.arange(1, max_rank + 1)
    with house_style():
        figure = new_figure(4.6, 2.9)
        axes = figure.add_subplot()
        for width, branch in zip(_CURVE_WIDTHS, list_ranked_branches(queries), strict=False):
            axes.plot(
                ranks,
                select_cmc(queries, branch, max_rank=max_rank),
                color=BRANCH_COLOURS[branch],
                linewidth=width,
                marker="o",
                markersize=width + 1.4,
                label=BRANCH_NAMES[branch],
            )
        axes.set(xlabel="rank", ylabel="share of queries", title="CMC", xlim=(0.5, max_rank + 0.5))
        axes.set_ylim(None, 1.02)
        axes.set_xticks(ranks if max_rank < 10 else [1, *range(5, max_rank + 1, 5)])
        axes.legend(labelcolor=MUTED, loc="lower right")
    return figure


def describe_cmc(queries: pd.DataFrame, *, num_gallery: int) -> str:
    """Say in words where each curve begins and where it is at the tenth rank, or the last."""
    last, parts = min(10, num_gallery), []
    for branch in list_ranked_branches(queries):
        curve = select_cmc(queries, branch, max_rank=last)
        end = f", {curve[-1]:.3f} at rank {last}" if last > 1 else ""
        parts.append(f"{BRANCH_NAMES[branch]} {curve[0]:.3f} at rank 1{end}")
    return "CMC curves: " + "; ".join(parts)


def select_cmc(queries: pd.DataFrame, branch: str, *, max_rank: int) -> np.ndarray:
    """Return the curve of a branch up to a rank."""
    first = queries.loc[queries["num_positives"] > 0, f"{branch}_first_rank"]
    return compute_cmc(first.to_numpy(dtype=np.int64), max_rank=max_rank)


def tabulate_cmc(queries: pd.DataFrame, *, num_gallery: int) -> pd.DataFrame:
    """Return what `draw_cmc` draws: branch, rank, share of the valid queries."""
    max_rank = min(MAX_SHOWN_RANK, num_gallery)
    parts = [
        pd.DataFrame(
            {
                "branch": branch,
                "rank": range(1, max_rank + 1),
                "share": select_cmc(queries, branch, max_rank=max_rank),
            }
        )
        for branch in list_ranked_branches(queries)
    ]
    return pd.concat(parts, ignore_index=True)


def list_hardest_identities(identities: pd.DataFrame, *, branch: str) -> pd.DataFrame:
    """Return up to 30 identities of lowest mean AP, lowest first."""
    order = identities.sort_values([f"{branch}_mean_ap", "identity"], kind="stable")
    return order.head(MAX_NAMED_IDENTITIES)


def draw_hardest_identities(identities: pd.DataFrame, *, branch: str) -> Figure:
    """Draw mean AP of the hardest identities as bars, lowest first.

    Args:
        identities: per_class.csv of a Re-ID data set.
        branch: Whose scores count.
    """
    shown = list_hardest_identities(identities, branch=branch)
    places = np.arange(len(shown))
    values = shown[f"{branch}_mean_ap"].to_numpy()
    with house_style():
        figure = new_figure(4.9, 0.7 + _BAR_HEIGHT * len(shown))
        axes = figure.add_subplot()
        axes.barh(places, values, height=0.7, color=BRANCH_COLOURS[branch])
        axes.set(xlim=(0, 1), xlabel="mean AP", yticks=places)
        axes.set_yticklabels([str(identity) for identity in shown["identity"]])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=GRID)
        for place, value, count in zip(places, values, shown["num_queries"], strict=True):
            text = f"{value:.2f}  ({count} {'query' if count == 1 else 'queries'})"
            is_long = value > 0.75
            axes.text(
                value - 0.01 if is_long else value + 0.01,
                float(place),
                text,
                va="center",
                ha="right" if is_long else "left",
                fontsize=7,
                color="white" if is_long else MUTED,
            )
    return figure
