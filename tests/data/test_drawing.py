"""The canvas on which a picture and its mask are one drawing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dcal.data.drawing import ENLARGEMENT, Canvas, Dice, Frame, ellipse, mix, ribbon

BLACK_BACKDROP = np.zeros((2, 2, 3), dtype=np.uint8)


def square(left: float, top: float, side: float) -> list[tuple[float, float]]:
    """Return a square of picture pixels in canvas coordinates, its last pixel included."""
    near_x, near_y = left * ENLARGEMENT, top * ENLARGEMENT
    far_x, far_y = near_x + side * ENLARGEMENT - 1, near_y + side * ENLARGEMENT - 1
    return [(near_x, near_y), (far_x, near_y), (far_x, far_y), (near_x, far_y)]


def test_a_shape_is_at_the_same_place_in_picture_and_mask() -> None:
    canvas = Canvas((12, 20))
    canvas.paint(square(3, 2, 5), colour=(200, 100, 50), part=4)

    image, mask = canvas.render(BLACK_BACKDROP), canvas.render_mask()

    assert image.shape == (12, 20, 3) and mask.shape == (12, 20)
    expected = np.zeros((12, 20), dtype=np.uint8)
    expected[2:7, 3:8] = 4
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(image[mask == 4], np.tile([200, 100, 50], (25, 1)))
    assert not image[mask == 0].any()


def test_what_is_painted_over_is_no_longer_in_the_mask() -> None:
    canvas = Canvas((10, 10))
    canvas.paint(square(0, 0, 8), colour=(255, 0, 0), part=2)
    canvas.paint(square(4, 0, 4), colour=(0, 255, 0))

    mask = canvas.render_mask()

    assert (mask[:4, :4] == 2).all() and not mask[:4, 4:8].any()


def test_an_edge_within_a_pixel_is_mixed_with_what_lies_behind() -> None:
    canvas = Canvas((4, 4))
    canvas.paint([(0, 0), (6, 0), (6, 11), (0, 11)], colour=(90, 90, 90))

    image = canvas.render(BLACK_BACKDROP)

    assert image[:, 1].tolist() == [[90] * 3] * 4
    assert image[:, 2].tolist() == [[30] * 3] * 4
    assert not image[:, 3].any()


def test_a_frame_turns_clockwise_as_seen_and_flips_left_and_right() -> None:
    quarter = Frame((10, 20), scale=2, angle=math.pi / 2)
    flipped = Frame((10, 20), scale=2, is_flipped=True)

    assert quarter.place([(1, 0)])[0] == pytest.approx((10, 22))
    assert flipped.place([(1, 3)])[0] == pytest.approx((8, 26))


def test_dice_depend_on_the_seed_sequence_alone_and_keep_their_ranges() -> None:
    first, second = (Dice(np.random.SeedSequence([0, 7])) for _ in range(2))

    numbers = [first.integer(2, 4) for _ in range(100)]

    assert numbers == [second.integer(2, 4) for _ in range(100)]
    assert set(numbers) == {2, 3, 4}
    assert all(-1 <= first.uniform(-1, 3) <= 3 for _ in range(100))
    assert all(0 <= channel <= 255 for channel in first.jitter((250, 3, 128), spread=20))


def test_outlines_have_the_size_asked_for() -> None:
    xs, ys = zip(*ellipse((1, 2), (3, 1)), strict=True)
    assert (max(xs), min(xs)) == pytest.approx((4, -2))
    assert (max(ys), min(ys)) == pytest.approx((3, 1))
    assert ribbon((0, 0), (5, 0), half_widths=(1, 2)) == [(0, -1), (5, -2), (5, 2), (0, 1)]
    assert mix((0, 100, 200), (100, 100, 100), ratio=0.25) == (25, 100, 175)
