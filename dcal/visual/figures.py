"""Matplotlib figures without global state, and their way into a page (ours).

Colours are written as hexadecimal constants and exchanged for CSS variables when a figure becomes
part of a page, so that one drawing serves a light page, a dark one, and a printed one.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1c2430", "#5f6b7a", "#dfe4ea"
BRANCH_COLOURS = {"sa": "#2f6db3", "glca": "#c8642b", "pwca": "#4c8a3f", "both": "#7b4ba3"}
BRANCH_NAMES = {"sa": "SA", "glca": "GLCA", "pwca": "PWCA", "both": "SA + GLCA"}

# Colour in a drawing -> CSS variable of the page.
PAGE_COLOURS = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    **{colour: f"--{branch}" for branch, colour in BRANCH_COLOURS.items()},
}

# Any, because matplotlib types its keys one by one.
_STYLE: Any = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.family": "sans-serif",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": INK,
    # Class names may hold a dollar sign; they are names, not formulas.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Set this project's fonts, colours and lines for what is drawn inside the block."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, known to nobody but the caller.

    pyplot would keep every figure it makes until it is told to close it.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


@contextmanager
def allow_missing_glyphs() -> Iterator[None]:
    """Save or lay out a figure of names without a warning for each letter that the font lacks.

    The letter is a box in the figure; whoever named a file in Japanese knows why.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def figure_to_svg(figure: Figure, *, description: str) -> str:
    """Return the figure as an SVG element for a page: its colours are the page's own.

    Args:
        figure: What a `draw_` function returned.
        description: What a reader who cannot see it is told.
    """
    import matplotlib

    stream = io.StringIO()
    # The salt makes names of clip paths differ between figures and agree between two runs.
    style = {**_STYLE, "svg.hashsalt": description}
    with matplotlib.rc_context(style), allow_missing_glyphs():
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    # Several drawings share the page: names of groups would clash, and nothing refers to them.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font-family: [^;]*;", "font-family: var(--sans);", text)
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    head, body = text.split(">", 1)
    head = re.sub(r' (?:width|height|xmlns|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(description, quote=True)}">{body.strip()}'


def image_to_uri(image: np.ndarray, *, quality: int = 82) -> str:
    """Return 8-bit RGB pixels (height, width, 3) as a WebP data URI."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
