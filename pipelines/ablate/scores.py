"""Scores of a trained arm on the test split, by branch, and its curves (ours)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from dcal.config import Config
from dcal.data.datamodule import Pictures
from dcal.inference.embedding import compute_embeddings, list_embedding_branches
from dcal.inference.scoring import build_predictions, compute_probabilities, score_predictions
from dcal.training.retrieval import list_scores, rank_embeddings
from dcal.training.runtime import resolve_runtime
from pipelines.trainings import Trained

SPLIT = "test"


def score_test_split(trained: Trained, config: Config, pictures: Pictures) -> dict[str, float]:
    """Return `test/<branch>/<metric>` for each branch that the model has."""
    device = torch.device(resolve_runtime(config.train).accelerator)
    if config.dataset.kind == "reid":
        return _score_rankings(trained, config, pictures, device)
    rows, probabilities = compute_probabilities(trained.model, trained.loaders.test, device=device)
    predictions = build_predictions(pictures.select(SPLIT), rows, probabilities)
    return score_predictions(predictions, split=SPLIT)


def collect_curves(history: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a record an epoch: the means of what was logged in it, and its held-out scores."""
    epochs = history["epoch"].astype(int)
    means = history.drop(columns=["step", "epoch"]).groupby(epochs).mean()
    rows = ({"epoch": epoch, **row.dropna().to_dict()} for epoch, row in means.iterrows())
    return [{str(key): value for key, value in row.items()} for row in rows]


def _score_rankings(
    trained: Trained, config: Config, pictures: Pictures, device: torch.device
) -> dict[str, float]:
    branches = list_embedding_branches(trained.model)
    rows, embeddings = compute_embeddings(
        trained.model,
        trained.loaders.test,
        branches=branches,
        device=device,
        flip=config.evaluate.flip,
    )
    table = pictures.table.loc[rows.numpy()]
    scores: dict[str, float] = {}
    for branch in branches:
        found = rank_embeddings(
            embeddings[branch],
            table,
            ap=config.evaluate.average_precision,
            memory_limit=config.evaluate.memory_mb << 20,
        )
        scores |= {f"{SPLIT}/{branch}/{name}": v for name, v in list_scores(found).items()}
    return scores
