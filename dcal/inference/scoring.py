"""Run a model over a split: one row of predictions a picture (ours)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dcal.config import Config, ModelConfig, TransformsConfig, parse_config
from dcal.data.datamodule import Loader, Pictures, build_test_loader, open_pictures
from dcal.data.dataset import NO_SIDES, Sides
from dcal.metrics.classification import compute_classification_metrics, compute_predictions
from dcal.models.build import load_model
from dcal.models.dcal import DCAL
from dcal.training import branches as branch_outputs

logger = logging.getLogger(__name__)

TRAINED_MODEL = "runs/train/model.safetensors"
# What a given model is asked now; all else was decided when it was trained.
_SECTIONS_OF_NOW = ("dataset", "evaluate", "rollout")


class Scoring(NamedTuple):
    """A trained model, the pictures to score, and the config that it was trained with."""

    model: DCAL
    pictures: Pictures
    config: Config
    path: Path


def open_scoring(config: Config) -> Scoring:
    """Load `evaluate.weights`, or what the train stage made, for this data set.

    A Re-ID set may be any other than the one that the model was trained on.

    Picture size and transforms are those of the model's card, whatever the config says now.

    Raises:
        FileNotFoundError: No model, or no index; the message says which stage makes it.
        ValueError: The model knows other classes than the data set.
    """
    path = Path(config.evaluate.weights or TRAINED_MODEL)
    if config.evaluate.weights is None and not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the model of the train stage, found no such file; run: dvc repro"
        )
    model = load_model(path)
    pictures = open_pictures(config.dataset)
    if config.dataset.kind == "fgvc":  # Re-ID compares pictures, whoever is on them
        _check_class_names(model.card["class_names"], pictures.report.class_names, path=path)
    trained = model.card["config"]
    config = config.model_copy(
        update={
            "model": ModelConfig.model_validate(trained["model"]),
            "transforms": TransformsConfig.model_validate(trained["transforms"]),
        }
    )
    return Scoring(model, pictures, config, path)


def describe_scored_config(config: Config, card: Mapping[str, Any]) -> Config:
    """Return the config that is true of the scored model.

    Args:
        config: Of params.yaml.
        card: Of the model.

    Returns:
        `config` itself for the model of the train stage. With `evaluate.weights` the card's, but
        for the data set and the sections evaluate and rollout, which are those of now.

    Raises:
        ConfigError: The card's config is not one of this version.
    """
    if config.evaluate.weights is None:
        return config
    now = config.model_dump(mode="json", include=set(_SECTIONS_OF_NOW))
    return parse_config({**card["config"], **now}, origin=f"card of {config.evaluate.weights}")


def name_command(config: Config, stage: str) -> str:
    """Return the command that runs a stage; DVC's would train first where weights are given."""
    if config.evaluate.weights is None:
        return f"dvc repro {stage}"
    return f"python -m pipelines.{stage}"


def build_scoring_loader(
    scoring: Scoring, split: str, *, rows: Sequence[int] | None = None
) -> Loader:
    """Build a loader over a split, or over some of its rows, as the model wants its pictures."""
    pictures = scoring.pictures
    if rows is not None:
        pictures = replace(pictures, table=pictures.table.loc[list(rows)])
    mean, std = get_normalisation(scoring.model)
    sides = find_known_sides(scoring)
    return build_test_loader(pictures, scoring.config, split, mean=mean, std=std, sides=sides)


def find_known_sides(scoring: Scoring) -> Sides:
    """Return the cameras and views that the model was trained with.

    Of another data set's pictures it knows none: the same number is another camera there.
    """
    card = scoring.model.card
    known = Sides(**{name: tuple(numbers) for name, numbers in card.get("sides", {}).items()})
    trained, scored = card["config"]["dataset"]["name"], scoring.pictures.report.dataset
    if trained == scored:
        return known
    if scoring.model.side is not None:
        logger.warning(
            "the model knows the cameras and views of %s; those of %s are unknown to it",
            trained,
            scored,
        )
    return NO_SIDES


def get_normalisation(model: DCAL) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of the channels that a trained model expects."""
    preprocessing = model.card["preprocessing"]
    return preprocessing["mean"], preprocessing["std"]


def _check_class_names(own: Sequence[str], wanted: Sequence[str], *, path: Path) -> None:
    if list(own) == list(wanted):
        return
    if len(own) != len(wanted):
        difference = f"it has {len(own)} classes and the data set {len(wanted)}"
    else:
        label = next(i for i, name in enumerate(own) if name != wanted[i])
        difference = f"class {label} is {own[label]!r} there and {wanted[label]!r} here"
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
        One row a picture of `table`, in its order: path, label, split, where pictures are cut also
        cut_bottom, and for each branch
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
    kept = [name for name in ("path", "label", "split", "cut_bottom") if name in table]
    return table[kept].join(scored).reset_index(drop=True)


def read_predictions(path: str | Path, *, command: str = "dvc repro evaluate") -> pd.DataFrame:
    """Read the table that the evaluate stage wrote.

    Raises:
        FileNotFoundError: It has not run; the message names `command`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; run: {command}")
    return pd.read_parquet(path)


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
