"""Fine-grained classification scores (definitions: docs of each function; ours where not named).

Everything is counted over the whole split at once, in integers and float64, so that no score
depends on how the pictures were batched or spread over processes.

N = pictures, C = classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

NUM_CALIBRATION_BINS = 15
NUM_TOP = 5


def compute_predictions(
    probabilities: Float[Tensor, "pictures classes"], *, num_top: int = 1
) -> Int[Tensor, "pictures top"]:
    """Return the most probable classes, best first; among equals the lower class number is first.

    With fewer than `num_top` classes all of them are returned.
    """
    order = probabilities.sort(dim=1, descending=True, stable=True).indices
    return order[:, :num_top]


def compute_classification_metrics(
    probabilities: Float[Tensor, "pictures classes"], labels: Int[Tensor, " pictures"]
) -> dict[str, float]:
    """Score class probabilities against the true labels.

    Returns:
        `top1_accuracy`; `top5_accuracy`: the true class is among the five most probable ones,
        ties by class number, and with five classes or fewer it is 1 by definition;
        `mean_class_accuracy`: mean of the accuracies of the classes that have pictures;
        `ece`: expected calibration error over 15 equal bins, see `compute_calibration_error`.
        All in [0, 1].

    Raises:
        ValueError: No pictures, fewer than two classes, a label out of range, or rows that are
            not probabilities.
    """
    check_probabilities(probabilities, labels)
    top = compute_predictions(probabilities, num_top=NUM_TOP)  # (N, min(5, C))
    is_hit = top == labels[:, None]  # (N, min(5, C))
    confusion = compute_confusion(top[:, 0], labels, num_classes=probabilities.shape[1])
    return {
        "top1_accuracy": int(is_hit[:, 0].sum()) / len(labels),
        "top5_accuracy": int(is_hit.any(dim=1).sum()) / len(labels),
        "mean_class_accuracy": compute_mean_class_accuracy(confusion),
        "ece": compute_calibration_error(probabilities, labels),
    }


def compute_confusion(
    predictions: Int[Tensor, " pictures"], labels: Int[Tensor, " pictures"], *, num_classes: int
) -> Int[Tensor, "classes classes"]:
    """Count the pictures of each true class (row) that were given each class (column)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    counts: Tensor = multiclass_confusion_matrix(predictions, labels, num_classes=num_classes)
    return counts


def compute_mean_class_accuracy(confusion: Int[Tensor, "classes classes"]) -> float:
    """Return the mean of the class accuracies; a class without pictures is left out."""
    num_pictures = confusion.sum(dim=1).double()
    is_present = num_pictures > 0
    accuracies = confusion.diagonal().double()[is_present] / num_pictures[is_present]
    return float(accuracies.mean())


def compute_calibration_error(
    probabilities: Float[Tensor, "pictures classes"],
    labels: Int[Tensor, " pictures"],
    *,
    num_bins: int = NUM_CALIBRATION_BINS,
) -> float:
    """Return the expected calibration error of the most probable class.

    Pictures are put in equal bins [i / n, (i + 1) / n) by their confidence, the last bin closed;
    the result is the mean of |accuracy - mean confidence| of the bins, weighted by their pictures.

    Source: Guo et al. 2017, with half-open bins from below. torchmetrics is not used here: it gives
    a confidence of exactly 1 a bin of its own, and takes rows that round to above 1 for logits.
    """
    predictions = compute_predictions(probabilities)[:, 0]
    confidences = probabilities.double().gather(1, predictions[:, None])[:, 0].clamp(0, 1)
    is_correct = (predictions == labels).double()
    edges = torch.arange(1, num_bins, dtype=torch.float64, device=labels.device) / num_bins
    bins = torch.bucketize(confidences, edges, right=True)
    gaps = torch.zeros(num_bins, dtype=torch.float64, device=labels.device)
    gaps.scatter_add_(0, bins, is_correct - confidences)
    return float(gaps.abs().sum() / len(labels))


def check_probabilities(probabilities: Tensor, labels: Tensor) -> None:
    """Raise a ValueError that says what was expected unless each row is a distribution.

    The arguments carry no shapes in their types, because shapes are what is checked.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "expected probabilities (pictures, classes) and one label a picture; got shapes "
            f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    num_pictures, num_classes = probabilities.shape
    if num_pictures == 0 or num_classes < 2:
        raise ValueError(
            "expected at least one picture and two classes; "
            f"got {num_pictures} pictures and {num_classes} classes"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(
            f"expected labels from 0 to {num_classes - 1}, one for each probability column; got "
            f"{int(labels.min())} to {int(labels.max())}"
        )
    sums = probabilities.double().sum(dim=1)
    # Half precision rounds sums to about 1e-3; a NaN compares false and so is refused as well.
    if not bool(((sums - 1).abs() < 1e-2).all() and (probabilities >= 0).all()):
        raise ValueError(
            "expected rows of probabilities (not logits), at least 0 and summing to 1; got row "
            f"sums from {float(sums.min()):.4g} to {float(sums.max()):.4g}"
        )
