"""A page of pictures in cells, each with a frame and a few lines of text below it (ours).

Places and sizes are in inches, from the top left corner of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcal.visual.figures import GRID, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG = "#2b7a3b", "#b3261e"
CELL_WIDTH, MAX_HEIGHT = 1.28, 1.5
_TICK, _CROSS = "\u2713", "\u2717"
_FONT_SIZE, _LINE = 6.2, 0.125


@dataclass(frozen=True)
class Shown:
    """A picture of a list, and what is said below it."""

    image: np.ndarray  # (H, W, 3) 8-bit
    lines: tuple[str, ...]
    is_right: bool | None = None  # None where that is not known, and for a query
    path: Path | None = None
    inside: str = ""  # what is written on it, where there is no picture to show


class Page:
    """A figure on which places are inches from its top left corner."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        figure.set_layout_engine("none")
        self.figure, self.width, self.height = figure, width, height

    def write(self, left: float, top: float, text: str, **options: Any) -> None:
        """Write a text whose upper middle is at a place; options are matplotlib's."""
        style = {"fontsize": _FONT_SIZE, "ha": "center", "va": "top", **options}
        self.figure.text(left / self.width, 1 - top / self.height, text, **style)

    def show(self, left: float, top: float, shown: Shown, height: float) -> None:
        """Draw a picture in the middle of a cell of this height, and its lines below the cell."""
        image_width, image_height = fit(shown.image, height)
        inset, drop = (CELL_WIDTH - image_width) / 2, height - image_height
        axes = self.figure.add_axes(
            (
                (left + inset) / self.width,
                1 - (top + drop + image_height) / self.height,
                image_width / self.width,
                image_height / self.height,
            )
        )
        axes.imshow(shown.image, aspect="auto", interpolation="antialiased")
        if shown.inside:
            middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
            axes.text(0.5, 0.5, shown.inside, fontsize=_FONT_SIZE + 1, color=MUTED, **middle)
        _frame(axes, shown.is_right)
        marks = {True: (_TICK, RIGHT), False: (_CROSS, WRONG)}
        for number, line in enumerate(shown.lines):
            place = top + height + 0.06 + number * _LINE
            colour = INK if number == 0 else MUTED
            self.write(left + CELL_WIDTH / 2, place, line, color=colour)
        if shown.is_right is not None and shown.lines:
            mark, colour = marks[shown.is_right]
            place = top + height + 0.07 + len(shown.lines) * _LINE
            self.write(left + CELL_WIDTH / 2, place, mark, fontsize=8.5, color=colour)


def measure_text(shown: Shown) -> float:
    """Return the height of what stands below a picture."""
    num_lines = len(shown.lines) + (shown.is_right is not None and len(shown.lines) > 0)
    return 0.06 + num_lines * _LINE + 0.16


def fit(image: np.ndarray, height: float) -> tuple[float, float]:
    """Return the (width, height) in inches of an image in a cell, its shape kept."""
    ratio = image.shape[0] / image.shape[1]
    width = min(CELL_WIDTH, height / ratio)
    return width, width * ratio


def _frame(axes: Axes, is_right: bool | None) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    colour, width = GRID, 0.8
    dashes: Any = "solid"
    if is_right is not None:
        colour, width = (RIGHT, 2.4) if is_right else (WRONG, 2.4)
        dashes = "solid" if is_right else (0, (2.4, 1.6))
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=width, linestyle=dashes)
        # Ends that stick out close the corners of a line, and the gaps between dashes.
        spine.set_capstyle("projecting" if dashes == "solid" else "butt")
