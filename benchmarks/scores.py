"""What `benchmarks.accuracy` scores on the test split: a model, plain features, and chance.

Every function returns `{metric: {what: value}}`: `top1` of a classifier; `mean_ap` and `cmc_1` of
re-identification, with the camera rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dcal.analysis.chance import compute_random_ranking
from dcal.config import Config
from dcal.data.datamodule import Loader, Pictures
from dcal.data.images import load_image
from dcal.data.index import list_cuts
from dcal.data.neighbours import compute_hsv_histogram, compute_neighbour_accuracy
from dcal.inference.embedding import compute_embeddings, list_embedding_branches
from dcal.models.dcal import DCAL
from dcal.training.branches import compute_probabilities
from dcal.training.retrieval import list_scores, rank_embeddings
from dcal.training.runtime import resolve_runtime

Scores = dict[str, dict[str, float]]
REID_METRICS = ("mean_ap", "cmc_1")
# Raw pixels of Re-ID: this side, bilinear, normalised as ImageNet is, by the cosine.
_PIXELS_SIDE = 32
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def score_model(model: DCAL, config: Config, pictures: Pictures, test: Loader) -> Scores:
    """Score each branch of a trained model."""
    device = torch.device(resolve_runtime(config.train).accelerator)
    if config.dataset.kind == "fgvc":
        return _score_classifier(model.to(device), test, device)
    rows, embeddings = compute_embeddings(
        model, test, branches=list_embedding_branches(model), device=device
    )
    table = pictures.table.loc[rows.numpy()]
    return _score_rankings({str(branch): values for branch, values in embeddings.items()}, table)


@torch.inference_mode()
def _score_classifier(model: DCAL, test: Loader, device: torch.device) -> Scores:
    num_right: dict[str, int] = {}
    num_test = 0
    for batch in test:
        labels = batch["label"].to(device)
        for branch, values in compute_probabilities(model(batch["image"].to(device))).items():
            is_right = values.argmax(dim=1) == labels
            num_right[branch] = num_right.get(branch, 0) + int(is_right.sum())
        num_test += len(labels)
    return {"top1": {branch: count / num_test for branch, count in num_right.items()}}


def score_plain_features(pictures: Pictures, config: Config) -> Scores:
    """Score the nearest picture by HSV histogram and by raw pixels."""
    if config.dataset.kind == "fgvc":
        return {"top1": _score_plain_classifiers(pictures, config.model.image_size)}
    table = pictures.select_ranked()
    pixels = _describe(
        pictures,
        table,
        (_PIXELS_SIDE, _PIXELS_SIDE),
        _normalise_pixels,
        resampling=Image.Resampling.BILINEAR,
    )
    features = {
        "hsv_histogram": _describe(pictures, table, config.model.image_size, compute_hsv_histogram),
        "raw_pixels": pixels,
    }
    normalised = {
        name: torch.nn.functional.normalize(torch.from_numpy(values), dim=1)
        for name, values in features.items()
    }
    return _score_rankings(normalised, table)


def compute_chance(pictures: Pictures, config: Config) -> dict[str, float]:
    """Return for each metric what an order drawn at random is expected to score."""
    if config.dataset.kind == "fgvc":
        return {"top1": 1 / len(pictures.report.class_names)}
    return compute_random_ranking(pictures.table)


def _score_rankings(embeddings: dict[str, Tensor], table: pd.DataFrame) -> Scores:
    found = {name: list_scores(rank_embeddings(of, table)) for name, of in embeddings.items()}
    return {metric: {name: of[metric] for name, of in found.items()} for metric in REID_METRICS}


def _score_plain_classifiers(pictures: Pictures, image_size: tuple[int, int]) -> dict[str, float]:
    tables = {split: pictures.select(split) for split in ("train", "test")}
    labels = {split: table["label"].to_numpy() for split, table in tables.items()}
    found = {}
    for name, compute in (("hsv_histogram", compute_hsv_histogram), ("raw_pixels", _to_shares)):
        of = {split: _describe(pictures, tables[split], image_size, compute) for split in tables}
        found[name] = compute_neighbour_accuracy(
            of["train"], labels["train"], test_features=of["test"], test_labels=labels["test"]
        )
    return found


def _describe(
    pictures: Pictures,
    table: pd.DataFrame,
    size: tuple[int, int],
    compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> NDArray[np.float32]:
    height, width = size
    rows = []
    for path, cut in zip(table["path"], list_cuts(table), strict=True):
        image = load_image(pictures.root / path, cut_bottom=cut)
        if image.size != (width, height):
            image = image.resize((width, height), resampling)
        rows.append(compute(np.asarray(image)).ravel())
    return np.stack(rows)


def _to_shares(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)


def _normalise_pixels(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels: NDArray[np.float32] = (_to_shares(image) - _MEAN) / _STD
    return pixels
