"""Ranked lists as a figure: a row a query, then what was found, framed by right or wrong (ours).

Right is a solid green frame with a tick, wrong a dashed red one with a cross, so that no reader
depends on the colour. Pictures keep their shape.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from dcal.data.images import load_image
from dcal.paths import write_atomically
from dcal.visual.figures import GRID, INK, MUTED, allow_missing_glyphs, house_style, new_figure
from dcal.visual.picture_labels import MAX_CHARACTERS, label_paths, shorten
from dcal.visual.picture_page import CELL_WIDTH, MAX_HEIGHT, Page, Shown, fit, measure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
_GAP, _MARGIN, _QUERY_GAP, _HEADING, _TITLE, _MIN_WIDTH = 0.12, 0.16, 0.16, 0.2, 0.3, 3.4  # inches
_MAX_PIXELS = 240
_GONE = "no longer there"


@dataclass(frozen=True)
class RankedList:
    """A query and what was found for it, nearest first."""

    query: Shown
    answers: tuple[Shown, ...]


def build_lists(
    table: pd.DataFrame,
    *,
    query_root: Path,
    gallery_root: Path,
    notes: Mapping[str, str] | None = None,
) -> list[RankedList]:
    """Load the pictures of a ranking table.

    Args:
        table: Of `dcal.analysis.ranking_tables.build_ranking_table`, or some of its rows.
        query_root: The folder that the queries' paths start from.
        gallery_root: The same for what was found.
        notes: What else to say below a query, by its path, such as its average precision.

    Raises:
        FileNotFoundError, OSError: A picture is gone or damaged.
    """
    has_cameras = bool(table["camera"].notna().any() or table["query_camera"].notna().any())
    names = {column: label_paths(table[column]) for column in ("query", "path")}
    lists = []
    for path, answers in table.groupby("query", sort=False):
        first = answers.iloc[0]
        lines = [names["query"][str(path)], *_describe(first, "query_", has_cameras)]
        note = (notes or {}).get(str(path))
        query = _load(query_root / str(path), [*lines, *([note] if note else [])])
        found = [
            _load(
                gallery_root / row["path"],
                [
                    names["path"][row["path"]],
                    *_describe(row, "", has_cameras),
                    f"distance {row['distance']:.3f}",
                ],
                is_right=None if pd.isna(row["is_right"]) else bool(row["is_right"]),
            )
            for row in answers.to_dict("records")
        ]
        lists.append(RankedList(query, tuple(found)))
    return lists


def build_search_lists(
    table: pd.DataFrame, *, gallery_root: Path, num_queries: int
) -> list[RankedList]:
    """Load the pictures of a search of one's own gallery, where nobody knows who is right.

    A picture of the gallery whose file is gone is an empty tile that says so, and a warning.

    Raises:
        FileNotFoundError, OSError: A query is gone, or a picture damaged.
    """
    table = table.loc[table["query"].isin(table["query"].unique()[:num_queries])]
    queries, names = label_paths(table["query"].astype(str)), label_paths(table["name"])
    lists = []
    for path, answers in table.groupby("query", sort=False):
        found = [
            _load_if_there(
                gallery_root / row["name"],
                [names[row["name"]], f"distance {row['distance']:.3f}"],
            )
            for row in answers.to_dict("records")
        ]
        lists.append(RankedList(_load(Path(str(path)), [queries[str(path)]]), tuple(found)))
    gone = {one.path for ranked in lists for one in ranked.answers if one.inside}
    if gone:
        logger.warning(
            "%s: pictures no longer there, drawn as empty tiles: %d", gallery_root, len(gone)
        )
    return lists


def draw_ranked_lists(lists: Sequence[RankedList], *, title: str = "") -> Figure:
    """Draw lists below one another, the query first; those of different lengths may be mixed.

    Raises:
        ValueError: There is no list.
    """
    if not lists:
        raise ValueError("ranked lists: expected at least one query; got none")
    num = max(len(ranked.answers) for ranked in lists)
    width = max(
        2 * _MARGIN + _QUERY_GAP + (num + 1) * (CELL_WIDTH + _GAP) - _GAP,
        _MIN_WIDTH,
    )
    heights = [_measure(ranked) for ranked in lists]
    top = _MARGIN + (_TITLE if title else 0) + _HEADING
    height = top + sum(picture + text for picture, text in heights) + _MARGIN
    with house_style():
        page = Page(new_figure(width, height), width, height)
        if title:
            page.write(_MARGIN, _MARGIN, title, fontsize=9.5, fontweight="bold", ha="left")
        _write_headings(page, num, top - _HEADING)
        for ranked, (picture, text) in zip(lists, heights, strict=True):
            page.show(_MARGIN, top, ranked.query, picture)
            for place, answer in enumerate(ranked.answers):
                page.show(_get_left(place), top, answer, picture)
            if not ranked.answers:
                page.write(_get_left(0), top, "no gallery picture is left", ha="left", color=MUTED)
            top += picture + text
    return page.figure


def save_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure as .png, .svg or .pdf, whole or not at all."""
    path = Path(path)
    require_drawable(path)
    with write_atomically(path) as temporary, allow_missing_glyphs():
        figure.savefig(temporary, dpi=150)


def require_drawable(path: Path) -> None:
    """Raise one sentence where a figure could not be written to `path`, before it is drawn.

    Raises:
        ValueError: Another suffix.
        RuntimeError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise ValueError(
            f"{path}: expected a name that ends in {', '.join(FIGURE_SUFFIXES)}; got "
            f"{path.suffix or 'no suffix'}"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise RuntimeError(
            "drawing needs matplotlib, which is not installed: pip install 'dcal[visual]'"
        ) from None


def load_thumbnail(path: Path) -> np.ndarray:
    """Load a picture, scaled down to 240 pixels at its longer side: 8-bit RGB (H, W, 3)."""
    image = load_image(path)
    image.thumbnail((_MAX_PIXELS, _MAX_PIXELS), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _get_left(place: int) -> float:
    return _MARGIN + _QUERY_GAP + (place + 1) * (CELL_WIDTH + _GAP)


def _write_headings(page: Page, num: int, top: float) -> None:
    for place in range(-1, num):
        left = _MARGIN if place < 0 else _get_left(place)
        text = "query" if place < 0 else str(place + 1)
        page.write(left + CELL_WIDTH / 2, top, text, fontsize=7.5, fontweight="bold", color=INK)


def _measure(ranked: RankedList) -> tuple[float, float]:
    """Return the inches that the pictures of a row take, and those of the lines below them."""
    shown = (ranked.query, *ranked.answers)
    return max(fit(one.image, MAX_HEIGHT)[1] for one in shown), max(map(measure_text, shown))


def _load(path: Path, lines: Sequence[str], *, is_right: bool | None = None) -> Shown:
    return Shown(load_thumbnail(path), tuple(lines), is_right, path)


def _load_if_there(path: Path, lines: Sequence[str]) -> Shown:
    try:
        return _load(path, lines)
    except FileNotFoundError:
        colour = [int(GRID[start : start + 2], 16) for start in (1, 3, 5)]
        tile = np.full((_MAX_PIXELS, _MAX_PIXELS, 3), colour, dtype=np.uint8)
        return Shown(tile, tuple(lines), None, path, inside=_GONE)


def _describe(row: Any, prefix: str, has_cameras: bool) -> list[str]:
    identity, camera = row[f"{prefix}identity"], row[f"{prefix}camera"]
    lines = ["identity unknown" if pd.isna(identity) else _label("identity", identity)]
    if has_cameras:
        lines.append("camera unknown" if _is_unknown(camera) else _label("camera", camera))
    return lines


def _label(word: str, value: Any) -> str:
    # A column of whole numbers, some of them unknown, is one of floats once it was in a CSV file.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{word} {shorten(str(value), length=MAX_CHARACTERS - len(word) - 1)}"


def _is_unknown(camera: Any) -> bool:
    return bool(pd.isna(camera)) or (not isinstance(camera, str) and camera < 0)
