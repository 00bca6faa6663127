"""Drawn birds: what a class is, what a picture depends on, and what gives nothing away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from dcal.data.bird_figure import CROWN_COLOURS
from dcal.data.neighbours import compute_hsv_histogram, compute_neighbour_accuracy
from dcal.data.synthetic import (
    DATASET_CROWNS,
    PART_VALUES,
    PRETRAINING_CROWNS,
    choose_classes,
    choose_pretraining_combinations,
    describe_parts,
    draw_bird,
)

NUM_PARTS = len(PART_VALUES)


def test_pictures_are_a_function_of_their_arguments_whatever_was_drawn_before() -> None:
    classes = choose_classes(4, seed=0)
    keys = [(combination, index) for combination in classes for index in range(3)]
    forward = {key: draw_bird(key[0], seed=0, index=key[1]) for key in keys}

    for key in reversed(keys):
        again = draw_bird(key[0], seed=0, index=key[1])
        np.testing.assert_array_equal(again.image, forward[key].image)
        np.testing.assert_array_equal(again.mask, forward[key].mask)

    assert len({bird.image.tobytes() for bird in forward.values()}) == len(keys)


def test_another_seed_draws_other_pictures() -> None:
    combination = choose_classes(2, seed=0)[0]
    images = [draw_bird(combination, seed=seed, index=0).image.tobytes() for seed in range(3)]
    assert len(set(images)) == 3


def test_the_drawing_is_frozen() -> None:
    # dcal_pico was trained on it. A change here asks for new embedded weights.
    digest = hashlib.sha256()
    for combination in choose_classes(4, seed=0):
        bird = draw_bird(combination, seed=0, index=0)
        digest.update(bird.image.tobytes() + bird.mask.tobytes())
    assert digest.hexdigest() == (
        "a8b9d8171f47245c142e1cd4951c461c84e83a73b77d27fd59a7ec545c5b4044"
    )


@pytest.mark.parametrize("image_size", [(64, 64), (48, 96), (128, 80)])
def test_a_picture_and_its_mask_have_the_size_asked_for(image_size: tuple[int, int]) -> None:
    bird = draw_bird(choose_classes(2, seed=0)[0], seed=0, index=0, image_size=image_size)
    assert bird.image.shape == (*image_size, 3) and bird.image.dtype == np.uint8
    assert bird.mask.shape == image_size and bird.mask.dtype == np.uint8


def test_every_part_is_in_nearly_every_mask_and_no_other_id_is() -> None:
    masks = [
        draw_bird(combination, seed=0, index=index).mask
        for combination in choose_classes(12, seed=0)
        for index in range(5)
    ]
    shares = [np.mean([(mask == part).any() for mask in masks]) for part in range(1, NUM_PARTS + 1)]
    assert max(mask.max() for mask in masks) == NUM_PARTS
    assert min(shares) > 0.9
    assert all((mask > 0).mean() < 0.35 for mask in masks)


def test_the_crown_of_the_mask_has_the_colour_of_the_class() -> None:
    for crown, name in enumerate(PART_VALUES["crown"]):
        images = [draw_bird((crown, 0, 0, 0, 0, 0), seed=0, index=index) for index in range(20)]
        pixels = np.concatenate([bird.image[bird.mask == 1] for bird in images])
        distances = {
            other: np.abs(np.median(pixels, axis=0) - colour).sum()
            for other, colour in CROWN_COLOURS.items()
        }
        assert min(distances, key=lambda other: distances[other]) == name


def test_classes_come_in_families_that_differ_in_one_part() -> None:
    classes = choose_classes(24, seed=0)
    assert len(set(classes)) == 24
    changed = set()
    for first in range(0, 24, 4):
        for member in classes[first + 1 : first + 4]:
            parts = [
                part
                for part, values in enumerate(zip(classes[first], member, strict=True))
                if values[0] != values[1]
            ]
            assert len(parts) == 1
            changed.update(parts)
    assert changed == set(range(NUM_PARTS))


def test_no_class_has_a_crown_that_pre_training_shows() -> None:
    pretraining = choose_pretraining_combinations(3600, seed=0)
    assert len(set(pretraining)) == 3600
    assert {combination[0] for combination in pretraining} == set(PRETRAINING_CROWNS)
    for seed in range(3):
        crowns = {combination[0] for combination in choose_classes(200, seed=seed)}
        assert crowns <= set(DATASET_CROWNS)
    assert not set(DATASET_CROWNS) & set(PRETRAINING_CROWNS)


def test_skipped_combinations_are_those_chosen_before() -> None:
    whole = choose_pretraining_combinations(30, seed=3)
    assert choose_pretraining_combinations(10, seed=3, skip=20) == whole[20:]
    with pytest.raises(ValueError, match="at most 3600 .* got 3601"):
        choose_pretraining_combinations(3600, seed=0, skip=1)


@pytest.mark.parametrize("num_classes", [1, 901])
def test_a_number_of_classes_that_cannot_be_had_is_refused(num_classes: int) -> None:
    with pytest.raises(ValueError, match=f"2 to 900 classes .* got {num_classes}"):
        choose_classes(num_classes, seed=0)


def test_parts_are_described_by_their_values() -> None:
    assert describe_parts((5, 4, 0, 2, 3, 1)) == {
        "crown": "violet",
        "wing_bars": "two yellow",
        "beak": "short dark",
        "eye_ring": "yellow",
        "tail": "tipped",
        "breast": "spotted",
    }


@cache
def draw_both_sets() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw 24 classes x (20 training + 10 test) pictures, class by class."""
    classes = choose_classes(24, seed=0)
    train, test = (
        np.stack(
            [draw_bird(key, seed=0, index=index).image for key in classes for index in indices]
        )
        for indices in (range(20), range(20, 30))
    )
    return train, test


def hsv_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the colour histogram of every picture."""
    return np.stack([compute_hsv_histogram(image) for image in images])


def pixel_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return every picture as one long row."""
    return images.reshape(len(images), -1).astype(np.float32)


@pytest.mark.parametrize("compute_features", [hsv_features, pixel_features])
def test_neighbours_by_colour_or_pixel_know_hardly_more_than_chance(
    compute_features: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> None:
    train, test = draw_both_sets()
    accuracy = compute_neighbour_accuracy(
        compute_features(train),
        np.repeat(np.arange(24), 20),
        test_features=compute_features(test),
        test_labels=np.repeat(np.arange(24), 10),
    )
    assert accuracy < 0.12
