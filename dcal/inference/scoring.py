"""Run a model over a split: one row of predictions a picture (ours)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dcal.config import Config, ModelConfig, TransformsConfig
from dcal.metrics.classification import compute_classification_metrics, compute_predictions
from dcal.models.dcal import DCAL
from dcal.training import branches as branch_outputs


def choose_device(devices: Literal["auto", "cpu"]) -> torch.device:
    """Return the first GPU where there is one and it is allowed, else the CPU."""
    use_gpu = devices == "auto" and torch.cuda.is_available()
    return torch.device("cuda" if use_gpu else "cpu")


def follow_card(config: Config, model: DCAL) -> Config:
    """Return the config with the picture size and transforms that the model was trained with."""
    trained = model.card["config"]
    return config.model_copy(
        update={
            "model": ModelConfig.model_validate(trained["model"]),
            "transforms": TransformsConfig.model_validate(trained["transforms"]),
        }
    )


def check_class_names(model: DCAL, class_names: Sequence[str], *, path: str | Path) -> None:
    """Refuse a model whose classes are not those of the index, in the same order.

    Raises:
        ValueError: They differ; the message names the first difference.
    """
    own = list(model.card["class_names"])
    if own == list(class_names):
        return
    if len(own) != len(class_names):
        difference = f"it has {len(own)} classes and the data set {len(class_names)}"
    else:
        label = next(i for i, name in enumerate(own) if name != class_names[i])
        difference = f"class {label} is {own[label]!r} there and {class_names[label]!r} here"
    raise ValueError(
        f"{path}: expected a model of this data set's classes, but {difference}; set dataset to "
        "the one that it was trained on, or train anew"
    )


@torch.inference_mode()
def compute_probabilities(
    model: DCAL,
    loader: Iterable[Mapping[str, Any]],
    *,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the model's test-time branches over a loader, in float32.

    Args:
        model: In evaluation mode.
        loader: Batches with `image` and `row`.
        device: Where to run; the model is moved there.
        on_batch: Called with the number of pictures after each batch.

    Returns:
        The pictures' rows (N,), and for each branch its class probabilities (N, C), on the CPU.
    """
    model.to(device)
    rows: list[Tensor] = []
    parts: dict[str, list[Tensor]] = {}
    for batch in loader:
        output = model(batch["image"].to(device))
        for branch, probabilities in branch_outputs.compute_probabilities(output).items():
            parts.setdefault(branch, []).append(probabilities.cpu())
        rows.append(batch["row"])
        if on_batch is not None:
            on_batch(len(batch["row"]))
    return torch.cat(rows), {branch: torch.cat(batches) for branch, batches in parts.items()}


def build_predictions(
    table: pd.DataFrame, rows: Tensor, probabilities: Mapping[str, Tensor]
) -> pd.DataFrame:
    """Join a split's rows with what the model said of each picture.

    Returns:
        One row a picture of `table`, in its order: path, label, split, and for each branch
        `<branch>_prediction`, `<branch>_probability` (of the predicted class) and
        `<branch>_probabilities` (of all classes, float32).

    Raises:
        ValueError: A picture was scored twice or not at all, so that counts would be wrong.
    """
    if sorted(rows.tolist()) != sorted(table.index.tolist()):
        raise ValueError(
            f"expected each of the {len(table)} pictures scored once; got {len(rows)} scores of "
            f"{len(set(rows.tolist()))} pictures"
        )
    columns: dict[str, Any] = {}
    for branch, values in probabilities.items():
        predictions = compute_predictions(values)  # (N, 1)
        columns[f"{branch}_prediction"] = predictions[:, 0].numpy()
        columns[f"{branch}_probability"] = values.gather(1, predictions)[:, 0].numpy()
        columns[f"{branch}_probabilities"] = list(values.numpy())
    scored = pd.DataFrame(columns, index=rows.numpy())
    return table[["path", "label", "split"]].join(scored).reset_index(drop=True)


def list_branches(predictions: pd.DataFrame) -> list[str]:
    """Return the branches that a table of predictions has, in the order sa, glca, both."""
    return [name for name in ("sa", "glca", "both") if f"{name}_prediction" in predictions]


def choose_main_branch(predictions: pd.DataFrame) -> str:
    """Return the branch that stands for the model: `both`, or `sa` where there is no GLCA."""
    return list_branches(predictions)[-1]


def score_predictions(predictions: pd.DataFrame, *, split: str) -> dict[str, float]:
    """Return `<split>/<branch>/<metric>` for every branch of a table of predictions."""
    labels = torch.from_numpy(predictions["label"].to_numpy(copy=True))
    metrics: dict[str, float] = {}
    for branch in list_branches(predictions):
        stacked = np.stack(predictions[f"{branch}_probabilities"].tolist())
        scores = compute_classification_metrics(torch.from_numpy(stacked), labels)
        metrics |= {f"{split}/{branch}/{name}": value for name, value in scores.items()}
    return metrics
