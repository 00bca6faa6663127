"""The classes of pictures of one's own, by a trained model (ours).

What cannot be read is passed over and named, so that one bad file of ten thousand stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from dcal.inference.embedding import (
    Branch,
    list_embedding_branches,
    require_branches,
    without_glca,
)
from dcal.inference.own_pictures import read_batches
from dcal.inference.recipe import build_transform
from dcal.metrics.classification import compute_predictions
from dcal.models.dcal import DCAL
from dcal.training.branches import compute_probabilities

COLUMNS = ("picture", "rank", "label", "class_name", "probability")


@dataclass(frozen=True)
class Predictions:
    """What a model says of pictures.

    The table has a row a picture and rank: picture, rank (from 1), label, class_name, probability.
    """

    table: pd.DataFrame
    branch: Branch
    left_out: dict[str, str]  # the pictures that could not be read, and one sentence on each


def require_classes(model: DCAL) -> list[str]:
    """Return the names of the classes that a model predicts.

    Raises:
        ValueError: It is a Re-ID model, whose classes are the identities it was trained on.
    """
    if model.card["config"]["dataset"]["kind"] == "reid":
        raise ValueError(
            "expected a model that predicts classes; this one re-identifies, and compares "
            "pictures: use dcal embed and dcal search"
        )
    return [str(name) for name in model.card["class_names"]]


@torch.inference_mode()
def predict_pictures(
    model: DCAL,
    pictures: Sequence[Path],
    *,
    device: torch.device,
    branch: Branch | None = None,
    num: int = 5,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> Predictions:
    """Say of each picture which classes are most probable.

    Args:
        model: With its card, as `load_model` returns it; it is moved to `device`.
        pictures: Their files.
        device: Where to run.
        branch: `sa` costs the plain backbone only; None = both, or sa without GLCA.
        num: Classes a picture; all of them where the model has fewer.
        batch_size: Pictures at once; the result does not depend on it.
        on_batch: Called with how many of the pictures are done, read or not.

    Raises:
        ValueError: A model without classes or without that branch, or numbers out of range.
    """
    if num < 1 or batch_size < 1:
        raise ValueError(f"expected num and batch_size of at least 1; got {num} and {batch_size}")
    names, branch = require_classes(model), branch or list_embedding_branches(model)[-1]
    require_branches(model, [branch])
    transform = build_transform(model)
    network = without_glca(model.to(device)) if branch == "sa" else model.to(device)
    problems: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    for batch in read_batches(pictures, transform, batch_size=batch_size, problems=problems):
        probabilities = compute_probabilities(network(batch["image"].to(device)))[branch].cpu()
        positions = batch["row"].tolist()
        rows += _rank(probabilities, [pictures[row].as_posix() for row in positions], names, num)
        if on_batch is not None:
            on_batch(positions[-1] + 1)
    left_out = {pictures[row].as_posix(): told for row, told in sorted(problems.items())}
    return Predictions(pd.DataFrame(rows, columns=list(COLUMNS)), branch, left_out)


def _rank(
    probabilities: Tensor, pictures: Sequence[str], names: Sequence[str], num: int
) -> Iterator[dict[str, Any]]:
    best = compute_predictions(probabilities, num_top=num)  # (B, num)
    values = probabilities.gather(1, best)
    for picture, labels, shares in zip(pictures, best.tolist(), values.tolist(), strict=True):
        for rank, (label, share) in enumerate(zip(labels, shares, strict=True), 1):
            yield {
                "picture": picture,
                "rank": rank,
                "label": label,
                "class_name": names[label],
                "probability": share,
            }
