"""Boxes of objects, kept to the pixels of their pictures (ours)."""

from __future__ import annotations

import pandas as pd

BOX_COLUMNS = ("box_x", "box_y", "box_width", "box_height")
# A box may end between pixels, or count from 1 where it should from 0.
TOLERANCE = 1.0


def keep_boxes_inside(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Cut boxes to their pictures, and leave out those that hold no pixel.

    Args:
        table: With width and height and, if it has boxes, all four of their columns, in pixels from
            the top left corner; NaN where a picture has none. Rows that were cut away at the bottom
            are no part of the picture, and a box may reach into them without a word.

    Returns:
        The table, and one sentence on each kind of box that was changed.
    """
    if BOX_COLUMNS[0] not in table:
        return table, []
    x, y, width, height = (table[name] for name in BOX_COLUMNS)
    right, bottom = x + width, y + height
    is_there = x.notna() & y.notna() & width.notna() & height.notna()
    whole_height = table["height"] + table.get("cut_bottom", 0)
    reaches_over = is_there & (
        (x < -TOLERANCE)
        | (y < -TOLERANCE)
        | (right > table["width"] + TOLERANCE)
        | (bottom > whole_height + TOLERANCE)
    )
    left, top = x.clip(lower=0), y.clip(lower=0)
    kept_width = right.clip(upper=table["width"]) - left
    kept_height = bottom.clip(upper=table["height"]) - top
    # A comparison with NaN is false, so a picture without a box stays one.
    holds_pixels = (width > 0) & (height > 0) & (kept_width > 0) & (kept_height > 0)
    kept = dict(zip(BOX_COLUMNS, (left, top, kept_width, kept_height), strict=True))
    table = table.assign(**{name: values.where(holds_pixels) for name, values in kept.items()})
    return table, _describe(table, is_there & ~holds_pixels, reaches_over & holds_pixels)


def _describe(table: pd.DataFrame, is_empty: pd.Series, reaches_over: pd.Series) -> list[str]:
    said = []
    for rows, what in (
        (is_empty, "hold no pixel of their picture, and are taken for none"),
        (reaches_over, "reach over the edge of their picture, and are cut to it"),
    ):
        if rows.any():
            first = table.loc[rows, "path"].iloc[0]
            said.append(f"{int(rows.sum())} of {len(table)} boxes {what}, such as that of {first}")
    return said
