"""Classification scores against plain loops in Python floats, and their properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dcal.metrics.classification import (
    check_probabilities,
    compute_calibration_error,
    compute_classification_metrics,
    compute_confusion,
    compute_mean_class_accuracy,
    compute_predictions,
)


def draw_case(seed: int, *, pictures: int = 57, classes: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(pictures, classes, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, classes, (pictures,), generator=generator)
    return logits.softmax(dim=1), labels


def rank_slowly(row: list[float]) -> list[int]:
    return sorted(range(len(row)), key=lambda column: (-row[column], column))


def score_slowly(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    rows, truth = probabilities.double().tolist(), labels.tolist()
    num_top1 = num_top5 = 0
    hits: dict[int, list[int]] = {}
    bins: dict[int, list[tuple[float, float]]] = {}
    for row, label in zip(rows, truth, strict=True):
        order = rank_slowly(row)
        is_hit = int(order[0] == label)
        num_top1 += is_hit
        num_top5 += int(label in order[:5])
        hits.setdefault(label, []).append(is_hit)
        confidence = row[order[0]]
        index = 14
        for candidate in range(15):
            if candidate / 15 <= confidence < (candidate + 1) / 15:
                index = candidate
        bins.setdefault(index, []).append((confidence, is_hit))
    ece = 0.0
    for members in bins.values():
        confidence = sum(c for c, _ in members) / len(members)
        accuracy = sum(h for _, h in members) / len(members)
        ece += abs(accuracy - confidence) * len(members) / len(rows)
    class_accuracies = [sum(values) / len(values) for values in hits.values()]
    return {
        "top1_accuracy": num_top1 / len(rows),
        "top5_accuracy": num_top5 / len(rows),
        "mean_class_accuracy": sum(class_accuracies) / len(class_accuracies),
        "ece": ece,
    }


@pytest.mark.parametrize("classes", [2, 4, 5, 6, 23])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_equal_the_plain_loops(classes: int, dtype: torch.dtype) -> None:
    for seed in range(5):
        probabilities, labels = draw_case(seed, classes=classes)
        probabilities = probabilities.to(dtype)
        expected = score_slowly(probabilities, labels)
        assert compute_classification_metrics(probabilities, labels) == pytest.approx(
            expected, abs=1e-12
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_scores_equal_the_plain_loops_where_everything_ties(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 8))
    # Few distinct values in exact binary fractions: ties in nearly every row, sums exactly 1.
    whole = st.lists(st.sampled_from([0, 1, 1, 2]), min_size=classes, max_size=classes)
    counts = data.draw(st.lists(whole.filter(lambda row: sum(row) > 0), min_size=1, max_size=12))
    rows = torch.tensor(counts, dtype=torch.float64)
    rows = rows / rows.sum(dim=1, keepdim=True)
    labels = torch.tensor(
        data.draw(st.lists(st.integers(0, classes - 1), min_size=len(rows), max_size=len(rows)))
    )
    assert compute_classification_metrics(rows, labels) == pytest.approx(score_slowly(rows, labels))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12))
def test_the_order_of_the_pictures_does_not_matter(seed: int, classes: int) -> None:
    probabilities, labels = draw_case(seed, classes=classes)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first = compute_classification_metrics(probabilities, labels)
    second = compute_classification_metrics(probabilities[order], labels[order])
    assert second == pytest.approx(first, abs=1e-12)
    assert all(0 <= value <= 1 for value in first.values())
    assert first["top5_accuracy"] >= first["top1_accuracy"]


def test_renaming_the_classes_does_not_matter_without_ties() -> None:
    probabilities, labels = draw_case(3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    renamed = torch.argsort(order)[labels]
    assert compute_classification_metrics(probabilities[:, order], renamed) == pytest.approx(
        compute_classification_metrics(probabilities, labels)
    )


def test_equal_probabilities_are_ranked_by_class_number() -> None:
    uniform = torch.full((7, 7), 1 / 7)
    metrics = compute_classification_metrics(uniform, torch.arange(7))
    assert metrics["top1_accuracy"] == 1 / 7
    assert metrics["top5_accuracy"] == 5 / 7
    assert compute_predictions(uniform, num_top=3).tolist() == [[0, 1, 2]] * 7


def test_top5_is_one_with_five_classes_or_fewer() -> None:
    probabilities, labels = draw_case(0, classes=5)
    assert compute_classification_metrics(probabilities, labels)["top5_accuracy"] == 1.0
    assert compute_predictions(probabilities, num_top=9).shape == (57, 5)


def test_a_class_without_pictures_is_left_out_of_the_class_mean() -> None:
    confusion = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 2, 2]])
    assert compute_mean_class_accuracy(confusion) == (3 / 4 + 2 / 4) / 2


def test_confusion_rows_are_true_classes() -> None:
    predictions, labels = torch.tensor([1, 1, 2, 0]), torch.tensor([0, 1, 2, 0])
    confusion = compute_confusion(predictions, labels, num_classes=3)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert not confusion.is_floating_point()


def test_a_confidence_of_one_shares_the_last_bin() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.95, 0.05]], dtype=torch.float64)
    # One bin: accuracy 1/2, mean confidence 0.975. In bins of their own it would be 0.525.
    error = compute_calibration_error(probabilities, torch.tensor([1, 0]))
    assert error == pytest.approx(0.975 - 0.5)


def test_calibration_error_equals_torchmetrics_where_the_definitions_agree() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities, labels = draw_case(11, pictures=400)
    theirs = multiclass_calibration_error(probabilities, labels, num_classes=9, n_bins=15)
    assert compute_calibration_error(probabilities, labels) == pytest.approx(
        float(theirs), abs=1e-6
    )


def test_rows_that_round_to_just_above_one_are_still_probabilities() -> None:
    probabilities = torch.tensor([[1.0000001, 0.0], [0.0, 1.0000001]])
    assert compute_calibration_error(probabilities, torch.tensor([0, 1])) == 0.0


def test_perfect_predictions_score_one_and_have_no_calibration_error() -> None:
    labels = torch.arange(12) % 4
    metrics = compute_classification_metrics(torch.eye(4)[labels], labels)
    assert metrics == {
        "top1_accuracy": 1.0,
        "top5_accuracy": 1.0,
        "mean_class_accuracy": 1.0,
        "ece": 0.0,
    }


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "got 0 pictures"),
        (torch.ones(2, 1), torch.tensor([0, 0]), "1 classes"),
        (torch.full((2, 2), 0.5), torch.tensor([0, 2]), "labels from 0 to 1"),
        (torch.full((2, 2), 0.5), torch.tensor([-1, 0]), "got -1 to 0"),
        (torch.tensor([[3.0, 1.0]]), torch.tensor([0]), "not logits"),
        (torch.tensor([[1.5, -0.5]]), torch.tensor([0]), "not logits"),
        (torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]), "not logits"),
        (torch.full((2, 2), 0.5), torch.tensor([0]), r"\(2, 2\) and \(1,\)"),
    ],
)
def test_unusable_input_is_refused_in_one_sentence(
    probabilities: Tensor, labels: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_probabilities(probabilities, labels)


def test_logits_are_refused_by_the_scores() -> None:
    with pytest.raises(ValueError, match="not logits"):
        compute_classification_metrics(torch.randn(3, 4) * 5, torch.tensor([0, 1, 2]))
