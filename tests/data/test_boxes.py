"""A box is inside its picture, or there is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from dcal.data.boxes import BOX_COLUMNS, keep_boxes_inside


def _make(*boxes: tuple[float, float, float, float], cut: int = 0) -> pd.DataFrame:
    table = pd.DataFrame(boxes, columns=list(BOX_COLUMNS), dtype="float64")
    size = {"path": [f"{n}.jpg" for n in range(len(boxes))], "width": 20, "height": 10}
    return table.assign(**size, **({"cut_bottom": cut} if cut else {}))


def _get(table: pd.DataFrame) -> list[tuple[float, ...]]:
    return [tuple(row) for row in table[list(BOX_COLUMNS)].to_numpy()]


def test_a_box_inside_stays_as_it_is_and_none_stays_none() -> None:
    nothing = (np.nan,) * 4
    table = _make((0, 0, 20, 10), (1.5, 2, 3, 4.25), nothing)
    kept, said = keep_boxes_inside(table)
    pd.testing.assert_frame_equal(kept, table)
    assert said == []


def test_a_box_over_the_edge_is_cut_to_the_picture_and_told() -> None:
    kept, said = keep_boxes_inside(_make((-5, -5, 10, 10), (15, 5, 10, 10), (0.5, 0.5, 20, 10)))
    assert _get(kept) == [(0, 0, 5, 5), (15, 5, 5, 5), (0.5, 0.5, 19.5, 9.5)]
    # Half a pixel over the edge is no news.
    assert said == [
        "2 of 3 boxes reach over the edge of their picture, and are cut to it, such as that of "
        "0.jpg"
    ]


def test_a_box_without_a_pixel_is_none_and_told() -> None:
    empty = [(1, 1, 0, 5), (1, 1, 5, -1), (30, 1, 5, 5), (1, -9, 5, 5), (5, 5, -3, -3)]
    kept, said = keep_boxes_inside(_make((1, 1, 2, 2), *empty))
    assert kept["box_x"].notna().tolist() == [True] + [False] * 5
    assert said == [
        "5 of 6 boxes hold no pixel of their picture, and are taken for none, such as that of 1.jpg"
    ]


def test_a_box_that_reaches_into_a_banner_is_cut_without_a_word() -> None:
    kept, said = keep_boxes_inside(_make((0, 5, 20, 20), cut=20))
    assert _get(kept) == [(0, 5, 20, 5)] and said == []


def test_a_table_without_boxes_stays_the_same() -> None:
    table = pd.DataFrame({"path": ["a"], "width": [3], "height": [3]})
    assert keep_boxes_inside(table) == (table, [])


@given(st.lists(st.tuples(*[st.floats(-40, 40)] * 4), min_size=1, max_size=5))
def test_every_box_left_lies_in_its_picture(
    boxes: list[tuple[float, float, float, float]],
) -> None:
    for x, y, width, height in _get(keep_boxes_inside(_make(*boxes))[0]):
        if not np.isnan(x):
            assert x >= 0 and y >= 0 and width > 0 and height > 0
            assert x + width <= 20 + 1e-9 and y + height <= 10 + 1e-9
