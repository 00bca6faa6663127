"""Part annotation as masks, moved as the picture is moved."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcal.config import TransformsConfig
from dcal.data.transforms import build_test_transform
from dcal.inference.parts import load_part_mask, to_model_input

TRANSFORMS = {
    "resize": (40, 60),
    "train_crop": "none",
    "pad": 0,
    "test_crop": "center",
    "flip_ratio": 0.0,
    "color_jitter": 0.0,
    "erase_ratio": 0.0,
    "interpolation": "bicubic",
    "decode": "exact",
}


def make_transform(**changes: object):
    config = TransformsConfig(**{**TRANSFORMS, **changes})
    return build_test_transform(config, (32, 48), mean=[0.0] * 3, std=[1.0] * 3)


def test_a_mask_holds_the_wanted_parts_only(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2], [3, 2, 1]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "mask.png")
    mask = load_part_mask(
        {"mask": "mask.png"}, root=tmp_path, part_names=["beak", "tail", "wing"], parts=["tail"]
    )
    assert mask is not None
    assert mask.tolist() == [[False, False, True], [False, True, False]]


def test_part_points_become_discs_by_the_size_of_the_box(tmp_path: Path) -> None:
    picture = {
        "mask": math.nan,
        "part_names": np.array(["beak", "tail"]),
        "part_xs": np.array([30.5, 80.0]),
        "part_ys": np.array([20.5, 80.0]),
        "width": 100,
        "height": 90,
        "box_width": 80.0,
        "box_height": 45.0,
    }
    mask = load_part_mask(picture, root=tmp_path, part_names=["beak", "tail"], parts=["beak"])
    assert mask is not None and mask.shape == (90, 100)
    assert mask[20, 30] and mask[20, 33] and not mask[20, 34]  # radius 0.05 * 60 = 3
    assert not mask[80, 80]


def test_without_a_box_the_picture_gives_the_size(tmp_path: Path) -> None:
    picture = {"part_names": ["beak"], "part_xs": [50.5], "part_ys": [50.5], "width": 100}
    mask = load_part_mask(
        {**picture, "height": 100}, root=tmp_path, part_names=["beak"], parts=["beak"]
    )
    assert mask is not None and mask[50, 55] and not mask[50, 56]


@pytest.mark.parametrize("picture", [{}, {"mask": math.nan, "part_names": math.nan}])
def test_a_picture_without_annotation_has_no_mask(tmp_path: Path, picture: dict) -> None:
    assert load_part_mask(picture, root=tmp_path, part_names=["beak"], parts=["beak"]) is None


@pytest.mark.parametrize("test_crop", ["center", "none"])
def test_a_mask_moves_with_its_picture(test_crop: str) -> None:
    """Paint the mask into a picture: after the transform the bright pixels are the mask."""
    pixels = np.zeros((80, 120, 3), dtype=np.uint8)
    mask = torch.zeros(80, 120, dtype=torch.bool)
    mask[30:50, 40:90] = True
    pixels[mask.numpy()] = 255
    transform = make_transform(test_crop=test_crop)
    moved = to_model_input(mask, transform)
    image = transform(Image.fromarray(pixels))
    assert moved.dtype == torch.bool and moved.shape == (32, 48)
    # Interpolation blurs one pixel at each edge.
    assert ((image[0] > 0.5) != moved).float().mean() < 0.04
    assert moved.float().mean() == pytest.approx(float((image[0] > 0.5).float().mean()), abs=0.03)
