"""Where a model looks at each depth: rollouts over its first blocks, and their scores (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dcal.inference.localization import COMPARED, compute_tolerance, score_looking
from dcal.inference.parts import build_part_masks
from dcal.inference.scoring import Scoring, build_scoring_loader
from dcal.training.runtime import resolve_runtime

_SCORED_CHOICE = 1001  # a spawn key of its own keeps this choice apart from others of the seed


class Rollouts(NamedTuple):
    """Some pictures and their rollouts at several depths; on the CPU, in float32."""

    images: Tensor  # (B, 3, H, W), normalised as the model wants them
    maps: dict[int, Tensor]  # number of blocks -> (B, rows, columns)


def choose_depths(num_blocks: int, *, num: int) -> list[int]:
    """Return up to `num` numbers of blocks, from 1 to all, evenly spread."""
    return sorted({int(depth) for depth in np.linspace(1, num_blocks, num)})


@torch.inference_mode()
def roll_out_depths(scoring: Scoring, *, num_pictures: int, depths: Sequence[int]) -> Rollouts:
    """Roll the first test pictures, or queries, out over the first blocks, at each depth.

    Raises:
        ValueError: A depth is not 1 to L, or there is no picture.
    """
    device = find_device(scoring)
    model = scoring.model.to(device)
    rows = list_test_rows(scoring, num=num_pictures)
    batches = [batch["image"] for batch in _build_loader(scoring, rows)]
    if not batches:
        raise ValueError(
            f"{scoring.pictures.report.dataset}: expected test pictures to look at, found none; "
            "ask for one or more of a data set that has them"
        )
    images = torch.cat(batches)
    maps = {
        depth: torch.cat(
            [model.rollout(batch.to(device), depth).float().cpu() for batch in batches]
        )
        for depth in depths
    }
    return Rollouts(images, maps)


def score_depths(scoring: Scoring, *, num_pictures: int) -> pd.DataFrame:
    """Score the rollout of test pictures, or queries, against their parts at each depth.

    The pictures are drawn by the run's seed: the first ones would be of a few classes.

    Returns:
        The rows of the branch `sa` of `score_looking`, of 1 to L blocks; an empty table where the
        data set has no part annotation, or none of these pictures shows a part.
    """
    if not scoring.pictures.report.discriminative_parts:
        return pd.DataFrame()
    rows = choose_test_rows(scoring, num=num_pictures)
    masks, tolerance = build_part_masks(scoring), compute_tolerance(scoring)
    tables = [
        score_looking(
            scoring.model,
            _build_loader(scoring, rows),
            masks,
            device=find_device(scoring),
            num_blocks=depth,
            tolerance=tolerance,
        )[0]
        for depth in range(1, scoring.model.num_blocks + 1)
    ]
    scores = pd.concat(tables, ignore_index=True)
    return scores if scores.empty else scores[scores["branch"] == COMPARED]


def list_test_rows(scoring: Scoring, *, num: int) -> list[int]:
    """Return the rows of the first pictures of test, for Re-ID of the queries."""
    split = find_test_split(scoring)
    rows: list[int] = scoring.pictures.select(split).index[:num].tolist()
    return rows


def choose_test_rows(scoring: Scoring, *, num: int | None) -> list[int]:
    """Return rows of test, for Re-ID of the queries, drawn by the run's seed; None = all."""
    rows = scoring.pictures.select(find_test_split(scoring)).index.to_numpy()
    if num is not None and num < len(rows):
        seed = np.random.SeedSequence(scoring.config.seed, spawn_key=(_SCORED_CHOICE,))
        rows = np.sort(np.random.default_rng(seed).choice(rows, num, replace=False))
    chosen: list[int] = rows.tolist()
    return chosen


def find_test_split(scoring: Scoring) -> str:
    """Return the split whose pictures are looked at: test, for Re-ID query."""
    return "query" if scoring.config.dataset.kind == "reid" else "test"


def find_device(scoring: Scoring) -> torch.device:
    """Return the device that `train.devices` gives on this machine."""
    return torch.device(resolve_runtime(scoring.config.train).accelerator)


def _build_loader(scoring: Scoring, rows: Sequence[int]) -> Iterable[Mapping[str, Any]]:
    return build_scoring_loader(scoring, find_test_split(scoring), rows=rows) if rows else ()
