"""Which classes a model gets right, and which it takes for which (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dcal.visual.figures import BRANCH_COLOURS, GRID, INK, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NAMED_CLASSES = 40  # more names than this cannot be read beside a matrix


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str], *, branch: str) -> Figure:
    """Draw a confusion matrix, each row divided by its pictures.

    Args:
        confusion: Counts (C, C); rows are the true classes.
        class_names: In label order; shown where there are at most 40.
        branch: Whose predictions these are; gives the colour.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    colour = to_rgba(BRANCH_COLOURS[branch])
    # From transparent, so that the page behind is the colour of zero.
    colours = LinearSegmentedColormap.from_list("share", [(*colour[:3], 0.0), colour])
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    with house_style():
        figure = new_figure(5.6, 5.2)
        axes = figure.add_subplot()
        axes.grid(False)
        image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="predicted class", ylabel="true class")
        if len(class_names) <= MAX_NAMED_CLASSES:
            size = 7.5 if len(class_names) <= 26 else 6
            names = [_shorten(name) for name in class_names]
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
            axes.set_yticks(range(len(names)), names, fontsize=size)
        axes.spines[:].set(visible=True, color=GRID)
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=24, pad=0.02)
        bar.outline.set_edgecolor(GRID)
        bar.set_label("share of the true class", size=8.5, color=MUTED)
        # Matplotlib makes tick labels when it first draws; they are to have this style too.
        figure.draw_without_rendering()
    return figure


def draw_class_accuracies(classes: pd.DataFrame, *, branch: str, chance: float) -> Figure:
    """Draw the accuracy of each class as bars, the lowest first.

    Args:
        classes: What `build_class_table` returned; where it has more than 40 classes, the 40
            lowest are shown.
        branch: Whose predictions.
        chance: Accuracy of guessing, drawn as a line.
    """
    import seaborn

    shown = list_lowest_classes(classes, branch=branch)
    shown = shown.assign(name=[_shorten(name) for name in _unique(shown)])
    with house_style():
        figure = new_figure(5.6, 0.9 + 0.19 * len(shown))
        axes = figure.add_subplot()
        seaborn.barplot(
            data=shown,
            x=f"{branch}_accuracy",
            y="name",
            color=BRANCH_COLOURS[branch],
            saturation=1,
            width=0.72,
            ax=axes,
        )
        axes.axvline(chance, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        axes.grid(axis="x")
        axes.grid(False, axis="y")
        axes.set(xlim=(0, 1.0), xlabel="accuracy (dotted: chance)", ylabel="")
        axes.tick_params(axis="y", labelsize=7.5)
        for position, row in enumerate(shown.to_dict("records")):
            label = f"{row[f'{branch}_correct']}/{row['num_pictures']}"
            place = (row[f"{branch}_accuracy"], position)
            axes.annotate(
                label,
                place,
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                color=MUTED,
                annotation_clip=False,
            )
    return figure


def list_lowest_classes(classes: pd.DataFrame, *, branch: str) -> pd.DataFrame:
    """Return the (at most 40) classes with the lowest accuracy, lowest first."""
    present = classes.loc[classes["num_pictures"] > 0]
    return present.sort_values(f"{branch}_accuracy", kind="stable").head(MAX_NAMED_CLASSES)


def _unique(classes: pd.DataFrame) -> list[str]:
    names = classes["class_name"].astype(str)
    is_doubled = names.map(_shorten).duplicated(keep=False)
    return [
        f"{label} {name}" if doubled else name
        for label, name, doubled in zip(classes["label"], names, is_doubled, strict=True)
    ]


def _shorten(name: str, *, length: int = 28) -> str:
    return name if len(name) <= length else f"{name[: length - 3]}..."
