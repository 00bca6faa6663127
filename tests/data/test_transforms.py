"""Sizes are (height, width) throughout, and each step acts only where it is on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dcal.config import TransformsConfig
from dcal.data.transforms import build_test_transform, build_train_transform

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def _make_section(**changes: Any) -> TransformsConfig:
    keys: dict[str, Any] = {
        "resize": (20, 28),
        "train_crop": "none",
        "pad": 0,
        "test_crop": "none",
        "flip_ratio": 0.0,
        "color_jitter": 0.0,
        "erase_ratio": 0.0,
        "interpolation": "bicubic",
        "decode": "exact",
    }
    return TransformsConfig(**{**keys, **changes})


def _train(size: tuple[int, int], **changes: Any) -> torch.Tensor:
    transform = build_train_transform(_make_section(**changes), size, mean=MEAN, std=STD)
    return transform(PICTURE)


def _normalise(pixels: np.ndarray) -> torch.Tensor:
    values = (pixels.astype(np.float64) / 255 - MEAN) / STD
    return torch.from_numpy(values).permute(2, 0, 1).float()


def test_with_every_step_off_the_picture_is_only_normalised() -> None:
    torch.testing.assert_close(_train((20, 28)), _normalise(PIXELS))


def test_none_resizes_straight_to_the_models_rectangle() -> None:
    resized = np.asarray(PICTURE.resize((24, 10), Image.Resampling.BICUBIC))
    torch.testing.assert_close(_train((10, 24)), _normalise(resized))
    bilinear = np.asarray(PICTURE.resize((24, 10), Image.Resampling.BILINEAR))
    torch.testing.assert_close(_train((10, 24), interpolation="bilinear"), _normalise(bilinear))


def test_centre_crop_takes_the_middle() -> None:
    section = _make_section(test_crop="center")
    transform = build_test_transform(section, (10, 24), mean=MEAN, std=STD)
    torch.testing.assert_close(transform(PICTURE), _normalise(PIXELS[5:15, 2:26]))


def test_random_crop_is_some_window_and_not_always_the_same() -> None:
    windows = [_normalise(PIXELS[y : y + 18, x : x + 26]) for y in range(3) for x in range(3)]
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        crop = _train((18, 26), train_crop="random")
        seen |= {i for i, window in enumerate(windows) if torch.allclose(crop, window, atol=1e-6)}
    assert len(seen) == 9


def test_flip_at_one_always_mirrors_columns() -> None:
    torch.testing.assert_close(_train((20, 28), flip_ratio=1.0), _normalise(PIXELS[:, ::-1]))


def test_erased_area_is_the_mean_colour() -> None:
    torch.manual_seed(0)
    erased = _train((20, 28), erase_ratio=1.0)
    is_changed = erased != _train((20, 28))
    assert is_changed.any()
    assert (erased[is_changed] == 0).all()


def test_jitter_changes_colours_only_where_it_is_on() -> None:
    torch.manual_seed(0)
    assert not torch.equal(_train((20, 28), color_jitter=0.4), _train((20, 28)))


def test_the_test_transform_draws_no_random_number() -> None:
    section = _make_section(flip_ratio=0.5, color_jitter=0.4, erase_ratio=0.5, test_crop="center")
    transform = build_test_transform(section, (10, 24), mean=MEAN, std=STD)
    before = torch.get_rng_state()
    assert torch.equal(transform(PICTURE), transform(PICTURE))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [(21, 28), (20, 29)])
def test_a_crop_larger_than_the_resize_is_refused_with_both_sizes(size: tuple[int, int]) -> None:
    match = rf"\[{size[0]}, {size[1]}\].*got \[20, 28\]"
    with pytest.raises(ValueError, match=match):
        _train(size, train_crop="random")
    with pytest.raises(ValueError, match=match):
        build_test_transform(_make_section(test_crop="center"), size, mean=MEAN, std=STD)
    assert _train(size).shape == (3, *size)


def test_reduced_decoding_leaves_twice_what_the_first_step_resizes_to(tmp_path: Path) -> None:
    image = Image.new("RGB", (400, 240))
    image.save(tmp_path / "a.jpg")
    for decode, resize, size in (
        ("exact", (20, 28), (400, 240)),
        ("reduced", (20, 28), (100, 60)),
        ("reduced", (60, 28), (200, 120)),
        ("reduced", (61, 28), (400, 240)),
    ):
        section = _make_section(decode=decode, resize=resize, test_crop="center")
        test = build_test_transform(section, (10, 24), mean=MEAN, std=STD)
        assert test.load(tmp_path / "a.jpg").size == size
        # Without a crop the first step is straight to the model's size.
        train = build_train_transform(section, resize, mean=MEAN, std=STD)
        assert train.load(tmp_path / "a.jpg").size == size


def test_reduced_decoding_changes_no_bit_where_nothing_can_be_reduced(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.jpg")
    transforms = [
        build_test_transform(_make_section(decode=decode), (11, 24), mean=MEAN, std=STD)
        for decode in ("exact", "reduced")
    ]
    one, other = (transform(transform.load(tmp_path / "a.jpg")) for transform in transforms)
    assert torch.equal(one, other)
