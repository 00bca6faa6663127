"""Ablations drawn: differences with intervals, seeds one by one, curves over epochs (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from dcal.visual.figures import BRANCH_COLOURS, BRANCH_NAMES, INK, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of arms: no colour that stands for a branch.
PALETTE = ("#1f8a8a", "#b83a5e", "#9a7412", "#4a5568", "#5fa8d3", "#7a4b2a", "#a68bd0")
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
        figure, axes = _new_rows(len(rows))
        axes.axvline(0, color=INK, linewidth=1)
        for place, (_, row) in enumerate(rows.iterrows()):
            colour = BRANCH_COLOURS.get(row["branch"], MUTED)
            low, high = 100 * row["difference_low_95"], 100 * row["difference_high_95"]
            axes.plot([low, high], [place, place], color=colour)
            axes.plot(100 * row["difference"], place, "o", color=colour, markersize=5)
        pairs = zip(rows["arm"], rows["branch"], rows["num_pairs"], strict=True)
        axes.set_yticks(
            range(len(rows)), [f"{_label(arm, branch)} ({count})" for arm, branch, count in pairs]
        )
        axes.set_xlabel(
            f"{name_score(score)} less that of {baseline}, points; mean and 95 % interval over the "
            "seeds in brackets"
        )
    return figure


def describe_forest(table: pd.DataFrame, *, score: str) -> str:
    """Say in words where each row of a forest lies."""
    rows = table[(table["metric"] == score) & table["difference"].notna()]
    parts = [
        f"{_label(row['arm'], row['branch'])} {100 * row['difference']:+.1f}"
        for _, row in rows.iterrows()
    ]
    return f"{name_score(score)} less the baseline's, points: " + ("; ".join(parts) or "no row")


def draw_seeds(scores: pd.DataFrame, *, score: str, order: Sequence[tuple[str, str]]) -> Figure:
    """Draw the score of every seed, and each row's mean as a line.

    Args:
        scores: A row an arm, seed, branch and metric.
        score: The metric that is drawn.
        order: Arm and branch of each row, first row on top.
    """
    import seaborn

    chosen = scores[scores["metric"] == score]
    chosen = chosen.assign(
        row=[_label(*key) for key in zip(chosen["arm"], chosen["branch"], strict=True)],
        percent=100 * chosen["value"],
    )
    present = set(zip(chosen["arm"], chosen["branch"], strict=True))
    rows = {_label(*key): key[1] for key in order if key in present}
    chosen = chosen[chosen["row"].isin(rows)]
    palette = {name: BRANCH_COLOURS.get(branch, MUTED) for name, branch in rows.items()}
    with house_style():
        figure, axes = _new_rows(len(rows))
        if rows:
            seaborn.stripplot(
                chosen, x="percent", y="row", order=list(rows), hue="row", palette=palette,
                jitter=False, alpha=0.6, size=6, legend=False, ax=axes,
            )  # fmt: skip
        means = chosen.groupby("row")["percent"].mean()
        for place, name in enumerate(rows):
            axes.plot([means[name]] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=2)
        axes.set(xlabel=f"{name_score(score)} on test, %; a dot a seed, a line the mean", ylabel="")
        axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    return figure


def draw_cost(cost: pd.DataFrame, *, score: str, baseline: str) -> Figure:
    """Draw each arm's score over its time, both over seeds, with the score's 95 % interval.

    Args:
        cost: Of `dcal.analysis.ablation_results.measure_cost`; arms without a time are left out.
        score: Named on the axis.
        baseline: Whose time is 1.
    """
    import seaborn

    known = cost.dropna(subset=["ratio", "mean"]).rename_axis("arm").reset_index()
    known = known.assign(percent=100 * known["mean"], colour=_give_colours(list(known["arm"])))
    with house_style():
        figure = new_figure(_WIDTH, 3.2)
        axes = figure.add_subplot()
        for _, row in known.iterrows():
            ends = [100 * row["low_95"], 100 * row["high_95"]]
            axes.plot([row["ratio"]] * 2, ends, color=row["colour"], alpha=0.6)
        seaborn.scatterplot(
            known, x="ratio", y="percent", hue="arm", s=60, ax=axes,
            palette=dict(zip(known["arm"], known["colour"], strict=True)) or None,
        )  # fmt: skip
        axes.set_xlim(0, 1.1 * known["ratio"].max() if len(known) else 1)
        axes.set(xlabel=f"time of training over {baseline}'s", ylabel=f"{name_score(score)}, %")
        _put_legend_below(figure, axes)
    return figure


def draw_bands(
    panels: Sequence[tuple[str, pd.DataFrame]],
    *,
    lines: Sequence[str],
    y_label: str,
    by: str = "arm",
    is_log: bool = False,
) -> Figure:
    """Draw values over epochs, a panel each: the mean over seeds, and from lowest to highest.

    Args:
        panels: Title, and a row a line, seed and epoch with the column value.
        lines: Drawn in this order, each in one colour in all panels; branches have their own.
        y_label: Of the first panel.
        by: The column that tells lines apart.
        is_log: Draw values on a logarithmic axis.
    """
    import seaborn

    palette = dict(zip(lines, _give_colours(lines), strict=True))
    with house_style():
        figure = new_figure(_WIDTH, 3.1)
        places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, values) in zip(places, panels, strict=True):
            present = [line for line in lines if line in set(values[by])]
            seaborn.lineplot(
                values.assign(epoch=values["epoch"] + 1), x="epoch", y="value", hue=by,
                hue_order=present, palette={line: palette[line] for line in present} or None,
                errorbar=lambda of: (of.min(), of.max()), err_kws={"alpha": 0.15, "lw": 0},
                ax=axes,
            )  # fmt: skip
            axes.set(xlabel="epoch", ylabel=y_label if axes is places[0] else "")
            axes.set_title(title)
            _count_in_whole_epochs(axes)
        if is_log:
            _make_logarithmic(places[0])
        _put_legend_below(figure, *places)
    return figure


def draw_loss_weights(weights: pd.DataFrame) -> Figure:
    """Draw the learned w of each branch over epochs, a panel an arm.

    Args:
        weights: Of `dcal.analysis.regularisation.select_loss_weights`; not empty.
    """
    panels = [(str(arm), of) for arm, of in weights.groupby("arm", sort=False)]
    branches = [branch for branch in BRANCH_COLOURS if branch in set(weights["branch"])]
    return draw_bands(panels, lines=branches, by="branch", y_label="w")


def draw_differences(panels: Sequence[tuple[str, pd.DataFrame]], *, y_label: str) -> Figure:
    """Draw paired differences over epochs, a panel each, with their 95 % interval and a zero line.

    Args:
        panels: Title, and a table of `dcal.analysis.generalisation.compare_over_epochs`.
        y_label: Of the first panel.
    """
    with house_style():
        figure = new_figure(_WIDTH, 2.8)
        places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, table) in zip(places, panels, strict=True):
            axes.axhline(0, color=INK, linewidth=1)
            epochs = table["epoch"] + 1
            axes.plot(epochs, table["difference"], color=BRANCH_COLOURS["pwca"])
            axes.fill_between(
                epochs, table["difference_low_95"], table["difference_high_95"],
                color=BRANCH_COLOURS["pwca"], alpha=0.2, lw=0,
            )  # fmt: skip
            count = int(table["num_pairs"].max()) if len(table) else 0
            axes.set_title(f"{title} ({count})")
            axes.set_xlabel("epoch")
            _count_in_whole_epochs(axes)
        places[0].set_ylabel(y_label)
    return figure


def name_score(score: str) -> str:
    """Return a metric's name for a reader."""
    return {"top1_accuracy": "Top-1", "mean_ap": "mAP"}.get(score, score)


def _new_rows(count: int) -> tuple[Figure, Axes]:
    """Return a figure for so many rows, the first at the bottom, and its axes."""
    figure = new_figure(_WIDTH, 1.1 + _ROW * max(count, 1))
    axes = figure.add_subplot()
    axes.grid(axis="x")
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, max(count, 1) - 0.4)
    return figure, axes


def _count_in_whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def _make_logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    # Matplotlib's own labels are formulas, which the house style does not set.
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _put_legend_below(figure: Figure, *places: Axes) -> None:
    # A line may be missing from one panel and not from another.
    entries = {}
    for axes in places:
        handles, labels = axes.get_legend_handles_labels()
        entries.update(dict(zip(labels, handles, strict=True)))
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=max(1, min(len(entries), 5)),
    )


def _label(arm: str, branch: str) -> str:
    return f"{arm}, {BRANCH_NAMES.get(branch, branch)}"


def _give_colours(lines: Sequence[str]) -> list[str]:
    return [BRANCH_COLOURS.get(a, PALETTE[i % len(PALETTE)]) for i, a in enumerate(lines)]
