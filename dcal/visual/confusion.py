"""Which classes a model gets right, and which it takes for which (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dcal.visual.figures import (
    BRANCH_COLOURS,
    GRID,
    INK,
    MUTED,
    allow_missing_glyphs,
    house_style,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NAMED_CLASSES = 40  # more names than this cannot be read beside a matrix
MAX_TICK_LENGTH = 12  # longer names would leave the matrix little room; it then has numbers


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str], *, branch: str) -> Figure:
    """Draw a confusion matrix, each row divided by its pictures.

    Args:
        confusion: Counts (C, C); rows are the true classes.
        class_names: In label order. Up to 40 classes are marked: by name or, where a name has more
            than 12 letters, by label.
        branch: Whose predictions these are; gives the colour.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    colour = to_rgba(BRANCH_COLOURS[branch])
    # From transparent, so that the page behind is the colour of zero.
    colours = LinearSegmentedColormap.from_list("share", [(*colour[:3], 0.0), colour])
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    is_short = max(len(name) for name in class_names) <= MAX_TICK_LENGTH
    with house_style():
        figure = new_figure(4.9, 4.2)
        axes = figure.add_subplot()
        axes.grid(False)
        image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="predicted class", ylabel="true class")
        if len(class_names) <= MAX_NAMED_CLASSES:
            labels = range(len(class_names))
            names = [name if is_short else str(label) for label, name in enumerate(class_names)]
            axes.set_xticks(labels, names, fontsize=6.5, rotation=90 if is_short else 0)
            axes.set_yticks(labels, names, fontsize=6.5)
        axes.spines[:].set(visible=True, color=GRID)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=28, pad=0.02)
        bar.outline.set_edgecolor(GRID)
        bar.set_label("share of the true class", size=8, color=MUTED)
        bar.ax.tick_params(labelsize=7)
        # Matplotlib makes tick labels when it first draws; they are to have this style too.
        with allow_missing_glyphs():
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
    # With its number a name that was cut is still one of its own; seaborn merges equal ones.
    numbered = zip(shown["class_name"], shown["label"], strict=True)
    shown = shown.assign(name=[f"{shorten_name(name)}  {label}" for name, label in numbered])
    with house_style():
        figure = new_figure(4.6, 0.7 + 0.17 * len(shown))
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
        axes.tick_params(axis="y", labelsize=7)
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


def shorten_name(name: str, *, length: int = 32) -> str:
    """Write a class name with spaces, and cut a long one in its middle.

    Names of near classes often agree at their beginning and differ at their end.
    """
    name = name.replace("_", " ").strip()
    if len(name) <= length:
        return name
    head = (length - 3) // 2
    return f"{name[:head].rstrip()}...{name[len(name) - (length - 3 - head) :].lstrip()}"
