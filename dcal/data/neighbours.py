"""What the nearest neighbour in a plain feature space scores: a floor to compare models with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BINS = (8, 4, 4)  # hue, saturation, value


def compute_hsv_histogram(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Count the HSV colours of one RGB picture in 8 x 4 x 4 bins, as shares that sum to 1."""
    levels = np.asarray(Image.fromarray(image).convert("HSV"), dtype=np.int64)  # (H, W, 3)
    hue, saturation, value = (levels[..., i] * bins // 256 for i, bins in enumerate(_BINS))
    bins = (hue * _BINS[1] + saturation) * _BINS[2] + value
    counts = np.bincount(bins.ravel(), minlength=int(np.prod(_BINS)))
    return (counts / counts.sum()).astype(np.float32)


def compute_neighbour_accuracy(
    train_features: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    *,
    test_features: NDArray[np.float32],
    test_labels: NDArray[np.int64],
) -> float:
    """Return the top-1 accuracy of the nearest training row, (N, D), by Euclidean distance."""
    train = train_features.astype(np.float64)
    test = test_features.astype(np.float64)
    # The test rows' own squares are the same for every candidate.
    distances = (train**2).sum(axis=1) - 2 * test @ train.T  # (Q, N)
    return float((train_labels[distances.argmin(axis=1)] == test_labels).mean())
