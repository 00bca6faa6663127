"""The floor that models are compared with."""

from __future__ import annotations

import numpy as np
import pytest

from dcal.data.neighbours import compute_hsv_histogram, compute_neighbour_accuracy


def test_neighbours_equal_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    train, test = generator.normal(size=(40, 5)), generator.normal(size=(30, 5))
    train_labels, test_labels = generator.integers(4, size=40), generator.integers(4, size=30)
    hits = 0
    for features, label in zip(test, test_labels, strict=True):
        distances = [float(((features - other) ** 2).sum()) for other in train]
        hits += int(train_labels[int(np.argmin(distances))] == label)

    accuracy = compute_neighbour_accuracy(
        train.astype(np.float32),
        train_labels,
        test_features=test.astype(np.float32),
        test_labels=test_labels,
    )

    assert accuracy == pytest.approx(hits / 30)


def test_a_histogram_sees_colours_and_no_places() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    shuffled = np.random.default_rng(1).permutation(image.reshape(-1, 3)).reshape(12, 8, 3)

    histogram = compute_hsv_histogram(image)

    assert histogram.shape == (128,) and histogram.sum() == pytest.approx(1)
    np.testing.assert_array_equal(histogram, compute_hsv_histogram(shuffled))
    assert (histogram != compute_hsv_histogram(255 - image)).any()
