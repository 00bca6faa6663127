"""Pillow's resize as matrix products, against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dcal.inference.resampling import build_resize_matrix, resize_pixels

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("size_in", "size_out"),
    [
        ((64, 64), (64, 64)),
        ((30, 40), (64, 64)),
        ((400, 300), (56, 48)),
        ((128, 64), (256, 128)),
        ((65, 97), (64, 64)),
        ((1, 1), (8, 8)),
        ((200, 1000), (64, 64)),
        ((38, 50), (45, 45)),
    ],
)
def test_levels_are_pillows_but_for_one_where_it_rounds_otherwise(interpolation, size_in, size_out):
    pixels = np.random.default_rng(0).integers(0, 256, (*size_in, 3), dtype=np.uint8)
    theirs = np.asarray(
        Image.fromarray(pixels).resize(size_out[::-1], FILTERS[interpolation])
    ).astype(int)
    ours = resize_pixels(
        torch.from_numpy(pixels).permute(2, 0, 1)[None], size_out, interpolation=interpolation
    )[0].permute(1, 2, 0)
    difference = np.abs(ours.numpy() - theirs)
    assert difference.max() <= 1
    # Halves are frequent between two pixels.
    assert (difference > 0).mean() < (0.06 if interpolation == "bilinear" else 0.01)


@pytest.mark.parametrize("interpolation", FILTERS)
def test_each_output_pixel_is_a_weighted_mean(interpolation):
    matrix = build_resize_matrix(37, 11, interpolation=interpolation)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(11))
    # Mirrored pictures become mirrored ones.
    torch.testing.assert_close(matrix, matrix.flip(0, 1))


def test_an_unknown_filter_is_refused():
    with pytest.raises(ValueError, match="interpolation: expected bilinear or bicubic; got near"):
        build_resize_matrix(3, 2, interpolation="nearest")
