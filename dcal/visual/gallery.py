"""From a scored model to overlays of some of its pictures (ours)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dcal.analysis.tables import choose_pictures
from dcal.inference.localization import Looking, compute_looking, describe_choice
from dcal.inference.parts import PartMasks
from dcal.inference.scoring import (
    Scoring,
    build_scoring_loader,
    choose_main_branch,
    get_normalisation,
)
from dcal.visual.attention_maps import Overlay

GALLERY_COLUMNS = (
    "name",
    "path",
    "class_name",
    "predicted_name",
    "probability",
    "is_correct",
    "rollout_label",
    "choice_label",
    "has_parts",
)


def build_gallery(
    scoring: Scoring,
    predictions: pd.DataFrame,
    masks: PartMasks,
    *,
    split: str,
    device: torch.device,
) -> tuple[list[Overlay], pd.DataFrame]:
    """Draw `rollout.num_images` pictures by the seed, some right and some wrong.

    Args:
        scoring: The model, its pictures and its config.
        predictions: What the evaluate stage wrote of the same model.
        masks: Gives the parts of a row.
        split: The split that was predicted.
        device: Where to run.

    Returns:
        The overlays, and a table with one row for each: `GALLERY_COLUMNS`.

    Raises:
        ValueError: The predictions are of other pictures than the index has.
    """
    branch = choose_main_branch(predictions)
    rollout = scoring.config.rollout
    chosen = choose_pictures(
        predictions, branch=branch, num=rollout.num_images, seed=scoring.config.seed
    )
    rows = _find_rows(scoring.pictures.select(split), chosen)
    overlays: list[Overlay] = []
    records: list[dict[str, Any]] = []
    said_of = dict(zip(chosen["path"], chosen.to_dict("records"), strict=True))
    model = scoring.model.to(device)
    for batch in build_scoring_loader(scoring, split, rows=rows) if rows else ():
        looking = compute_looking(model, batch["image"].to(device), num_blocks=rollout.num_blocks)
        for position, row in enumerate(batch["row"].tolist()):
            record = _describe(scoring, row, said_of, branch=branch)
            record |= _label(looking, scoring) | {"name": f"{len(records):02d}"}
            overlay = _build_overlay(
                looking, position, image=to_pixels(batch["image"][position], scoring),
                mask=masks(row), record=record,
            )  # fmt: skip
            records.append(record | {"has_parts": overlay.mask is not None})
            overlays.append(overlay)
    return overlays, pd.DataFrame(records, columns=list(GALLERY_COLUMNS))


def _find_rows(table: pd.DataFrame, chosen: pd.DataFrame) -> list[int]:
    rows: list[int] = table.index[table["path"].isin(chosen["path"])].tolist()
    if len(rows) != len(chosen):
        raise ValueError(
            f"runs/evaluate/predictions.parquet: {len(chosen) - len(rows)} of {len(chosen)} "
            "pictures are not in the index; run: dvc repro evaluate"
        )
    return rows


def _describe(
    scoring: Scoring, row: int, said_of: Mapping[str, Mapping[Hashable, Any]], *, branch: str
) -> dict[str, Any]:
    path = scoring.pictures.table.loc[row, "path"]
    names, said = scoring.pictures.report.class_names, said_of[str(path)]
    return {
        "path": path,
        "class_name": names[said["label"]],
        "predicted_name": names[said[f"{branch}_prediction"]],
        "probability": round(float(said[f"{branch}_probability"]), 4),
        "is_correct": bool(said["label"] == said[f"{branch}_prediction"]),
    }


def _label(looking: Looking, scoring: Scoring) -> dict[str, str]:
    depth = scoring.config.rollout.num_blocks or scoring.model.num_blocks
    blocks = "1 block" if depth == 1 else f"{depth} blocks"
    return {
        "rollout_label": f"SA rollout, {blocks}",
        "choice_label": describe_choice(looking, scoring.model),
    }


def _build_overlay(
    looking: Looking,
    position: int,
    *,
    image: np.ndarray,
    mask: Tensor | None,
    record: Mapping[str, Any],
) -> Overlay:
    said = f"right, {record['probability']:.0%} sure"
    if not record["is_correct"]:
        said = f"taken for {record['predicted_name']}, {record['probability']:.0%} sure"
    return Overlay(
        image=image,
        rollout=looking.compared[position].numpy(),
        chosen=looking.chosen[position].numpy(),
        mask=None if mask is None else mask.numpy(),
        title=f"{record['class_name']}: {said}",
        rollout_label=record["rollout_label"],
        choice_label=record["choice_label"],
    )


def to_pixels(image: Tensor, scoring: Scoring) -> np.ndarray:
    """Turn a normalised image (3, H, W) of this model back into 8-bit RGB (H, W, 3)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in get_normalisation(scoring.model))
    pixels = ((image.cpu() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())  # (H, W, 3)
