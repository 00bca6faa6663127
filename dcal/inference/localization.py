"""Score where a model looks on pictures with part annotation (ours; see metrics/localization).

Two depths matter. Models are compared at one and the same depth, all L blocks unless told
otherwise: that rollout is the SA stream's, with or without the other branches. GLCA selects by
the rollout over the blocks below it, L - M of them: where a model does select, that depth is scored
as well, with the patches that are chosen there. It is the SA stream's rollout too, so its scores
are called those of the selection and not of GLCA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from dcal.inference.scoring import Scoring
from dcal.metrics.localization import (
    area_share,
    chosen_on_mask,
    dilate_mask,
    energy_share,
    pointing_game_chance,
    pointing_game_hit,
)
from dcal.models.dcal import DCAL

COMPARED, SELECTION = "sa", "selection"  # the names that the two depths are reported under


class Looking(NamedTuple):
    """Where a model looks on a batch; on the CPU, in float32."""

    compared: Tensor  # (B, rows, columns), the rollout at the depth that models are compared at
    selection: Tensor  # (B, rows, columns), the rollout that selects
    chosen: Tensor  # (B, R) patch positions
    is_chosen: bool  # False: the model reads no patch, `chosen` is what top_r would select


def describe_choice(looking: Looking, model: DCAL) -> str:
    """Say whose choice the chosen patches are, or would be."""
    patches = f"{looking.chosen.shape[1]} of {model.num_patches} patches"
    if looking.is_chosen:
        drawn = ", drawn at random" if model.is_selection_random else ""
        return f"GLCA choice: {patches}{drawn}"
    reason = f"read-out {model.config.readout}" if model.config.glca_blocks else "GLCA off"
    return f"nothing is chosen ({reason}); top_r {model.config.top_r:g} would take {patches}"


def get_selection_depth(model: DCAL) -> int:
    """Return L - M, the number of blocks whose rollout selects GLCA's patches."""
    return model.num_blocks - model.config.glca_blocks


@torch.inference_mode()
def compute_looking(model: DCAL, images: Tensor, *, num_blocks: int | None) -> Looking:
    """Return both rollouts and the chosen patches of a batch on the model's device.

    Args:
        model: In evaluation mode.
        images: (B, 3, H, W), normalised.
        num_blocks: Depth that models are compared at; None = all blocks.

    Raises:
        ValueError: `num_blocks` is not 1 to L.
    """
    compared = model.rollout(images, num_blocks)
    selection = model.rollout(images, get_selection_depth(model))
    # What the forward pass does as well, which would cost another pass.
    chosen = model.choose_patches(selection.flatten(1), num_images=len(images))
    return Looking(
        compared.float().cpu(), selection.float().cpu(), chosen.cpu(), model.selects_patches
    )


def compute_tolerance(scoring: Scoring) -> float:
    """Return half a patch in pixels of the model's input: a rollout cannot point more finely."""
    height, width = scoring.config.model.image_size
    rows, columns = scoring.model.grid_size
    return min(height / rows, width / columns) / 2


def score_looking(
    model: DCAL,
    loader: Iterable[Mapping[str, Any]],
    load_mask: Callable[[int], Tensor | None],
    *,
    device: torch.device,
    num_blocks: int | None,
    tolerance: float,
) -> tuple[pd.DataFrame, int]:
    """Score every picture of a loader at the compared depth and at the one that selects, if any.

    Args:
        model: In evaluation mode; it is moved to `device`.
        loader: Batches with `image` and `row`.
        load_mask: From a row to the parts' mask in model input pixels, None without annotation.
        device: Where to run.
        num_blocks: Depth that models are compared at; None = all blocks.
        tolerance: Pixels of the model input by which a peak may miss the parts.

    Returns:
        One row a picture and depth: row, branch, num_blocks, pointing_game, pointing_game_chance,
        energy_share, area_share; the branch is `sa` at the compared depth. Where the model selects
        patches also rows of the branch `selection`, which add chosen_on_parts, parts_chosen and
        chosen_share. And the number of pictures left out because no part is visible in them.
    """
    model.to(device)
    records: list[dict[str, Any]] = []
    num_left_out = 0
    depths = {
        COMPARED: model.num_blocks if num_blocks is None else num_blocks,
        SELECTION: get_selection_depth(model),
    }
    for batch in loader:
        looking = compute_looking(model, batch["image"].to(device), num_blocks=num_blocks)
        for position, row in enumerate(batch["row"].tolist()):
            mask = load_mask(row)
            if mask is None or not bool(mask.any()):
                num_left_out += 1
                continue
            for record in _score_picture(looking, position, mask, tolerance=tolerance):
                records.append(
                    {"row": row, "num_blocks": depths[record["branch"]], **record},
                )
    return pd.DataFrame(records), num_left_out


def _score_picture(
    looking: Looking, position: int, mask: Tensor, *, tolerance: float
) -> list[dict[str, Any]]:
    grid_size = (looking.compared.shape[1], looking.compared.shape[2])
    near = dilate_mask(mask, tolerance=tolerance)
    common = {
        "pointing_game_chance": pointing_game_chance(near, grid_size=grid_size),
        "area_share": area_share(mask),
    }
    maps = {COMPARED: looking.compared[position]}
    if looking.is_chosen:
        maps[SELECTION] = looking.selection[position]
    records: list[dict[str, Any]] = [
        {
            "branch": branch,
            "pointing_game": float(pointing_game_hit(rollout, near)),
            "energy_share": energy_share(rollout, mask),
            **common,
        }
        for branch, rollout in maps.items()
    ]
    if not looking.is_chosen:
        return records
    on_parts, covered = chosen_on_mask(looking.chosen[position], mask, grid_size=grid_size)
    chosen_share = looking.chosen.shape[1] / looking.selection[position].numel()
    records[-1] |= {
        "chosen_on_parts": on_parts,
        "parts_chosen": covered,
        "chosen_share": chosen_share,
    }
    return records
