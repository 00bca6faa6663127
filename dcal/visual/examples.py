"""Rows of example pictures with boxes, part points and part masks drawn on them (ours)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from dcal.analysis.examples import Example
from dcal.data.images import load_image
from dcal.visual.figures import MUTED, allow_missing_glyphs, house_style, new_figure
from dcal.visual.picture_labels import shorten
from dcal.visual.picture_page import CELL_WIDTH, MAX_HEIGHT, Page, Shown, fit, measure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX_COLOUR = (255, 196, 0)
LONGER_SIDE = 240  # pixels; small pictures are enlarged, so that lines stay thin beside them
_POINT = 4  # pixels from the middle of a point to its edge
_GAP, _MARGIN, _TITLE, _LEGEND = 0.1, 0.12, 0.22, 0.17  # inches
_LEGEND_COLUMNS = 4
_TITLE_LENGTH = 80  # characters


def draw_examples(
    examples: Sequence[Example], *, root: Path, part_names: Sequence[str] = ()
) -> Figure:
    """Draw the rows below one another, each picture in its own shape.

    Args:
        examples: Of `dcal.analysis.examples`, each with a picture at least.
        root: The folder that their paths start from.
        part_names: All parts, as the index's report has them.

    Raises:
        FileNotFoundError, OSError: A picture or a mask is gone or damaged.
    """
    lists = [_load(example, root, part_names) for example in examples]
    num = max(len(shown) for shown in lists)
    drawn = list_drawn_parts(examples, part_names)
    width = max(2 * _MARGIN + num * (CELL_WIDTH + _GAP) - _GAP, 5.0)
    heights = [max(fit(one.image, MAX_HEIGHT)[1] for one in shown) for shown in lists]
    texts = [measure_text(shown[0]) for shown in lists]
    legend = _LEGEND * math.ceil(len(drawn) / _LEGEND_COLUMNS)
    total = 2 * _MARGIN + sum(heights) + sum(texts) + _TITLE * len(lists) + legend
    with house_style(), allow_missing_glyphs():
        page = Page(new_figure(width, total), width, total)
        top = _MARGIN
        for example, shown, height, text in zip(examples, lists, heights, texts, strict=True):
            name = shorten(example.title, length=_TITLE_LENGTH)
            page.write(_MARGIN, top, name, ha="left", fontsize=8.5, fontweight="bold")
            top += _TITLE
            for place, one in enumerate(shown):
                page.show(_MARGIN + place * (CELL_WIDTH + _GAP), top, one, height)
            top += height + text
        _write_legend(page, drawn, part_names, top)
    return page.figure


def describe_examples(examples: Sequence[Example]) -> str:
    """Say in words whose pictures `draw_examples` drew."""
    return "Pictures of " + "; ".join(example.title for example in examples)


def list_drawn_parts(examples: Sequence[Example], part_names: Sequence[str]) -> list[str]:
    """Return the parts that these examples may show, in the order of `part_names`."""
    annotated = any(
        isinstance(row.get("mask"), str) or _has_points(row)
        for example in examples
        for row in example.rows.to_dict("records")
    )
    return list(part_names) if annotated else []


def paint_annotation(
    image: Image.Image, row: Mapping[Any, Any], *, root: Path, part_names: Sequence[str]
) -> np.ndarray:
    """Return a picture scaled to 240 pixels, with what the index knows of it drawn on it.

    Args:
        image: The whole picture.
        row: Its row of the index: box_*, part_*, mask; none of them need be there.
        root: The folder that the mask's path starts from.
        part_names: All parts; part i is the mask's value i + 1.
    """
    scale = LONGER_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BICUBIC)
    if isinstance(row.get("mask"), str):
        small = _paint_mask(small, root / row["mask"], len(part_names))
    pen = ImageDraw.Draw(small)
    box = [row.get(f"box_{side}", math.nan) for side in ("x", "y", "width", "height")]
    if not any(math.isnan(value) for value in box):
        left, top, width, height = (float(value) * scale for value in box)
        corners = (left, top, min(left + width, size[0] - 1), min(top + height, size[1] - 1))
        pen.rectangle(corners, outline=BOX_COLOUR, width=2)
    if _has_points(row):
        points = zip(row["part_names"], row["part_xs"], row["part_ys"], strict=True)
        for name, x, y in points:
            middle = (float(x) * scale, float(y) * scale)
            colour = choose_colour(part_names.index(name), len(part_names))
            pen.circle(middle, _POINT, fill=colour, outline=(255, 255, 255))
    return np.asarray(small)


def choose_colour(part: int, num_parts: int) -> tuple[int, int, int]:
    """Return the 8-bit colour of a part, by its place among all."""
    import matplotlib

    name = "tab10" if num_parts <= 10 else "tab20"
    red, green, blue, _ = matplotlib.colormaps[name](part % matplotlib.colormaps[name].N)
    return round(255 * red), round(255 * green), round(255 * blue)


def _load(example: Example, root: Path, part_names: Sequence[str]) -> list[Shown]:
    shown = []
    for row, caption in zip(example.rows.to_dict("records"), example.captions, strict=True):
        path = root / row["path"]
        image = load_image(path, cut_bottom=int(row.get("cut_bottom", 0)))
        pixels = paint_annotation(image, row, root=root, part_names=part_names)
        shown.append(Shown(pixels, (caption,), path=path))
    return shown


def _has_points(row: Mapping[Any, Any]) -> bool:
    return isinstance(row.get("part_names"), (list, tuple, np.ndarray))


def _paint_mask(image: Image.Image, path: Path, num_parts: int) -> Image.Image:
    with Image.open(path) as opened:
        values = np.asarray(opened.resize(image.size, Image.Resampling.NEAREST))
    pixels = np.array(image)
    padded = np.pad(values, 1, mode="edge")
    height, width = values.shape
    around = (padded[y : y + height, x : x + width] for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)))
    is_edge = np.logical_or.reduce([values != other for other in around])
    for part in range(num_parts):
        pixels[is_edge & (values == part + 1)] = choose_colour(part, num_parts)
    return Image.fromarray(pixels)


def _write_legend(page: Page, drawn: Sequence[str], part_names: Sequence[str], top: float) -> None:
    step = (page.width - 2 * _MARGIN) / _LEGEND_COLUMNS
    for number, name in enumerate(drawn):
        line, column = divmod(number, _LEGEND_COLUMNS)
        colour = "#{:02x}{:02x}{:02x}".format(
            *choose_colour(part_names.index(name), len(part_names))
        )
        place = (_MARGIN + column * step, top + line * _LEGEND)
        page.write(*place, "\u25cf", ha="left", fontsize=8, color=colour)
        page.write(place[0] + 0.14, place[1] + 0.01, name, ha="left", fontsize=7, color=MUTED)
