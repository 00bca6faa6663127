"""Where the model looks in a query and in what was found for it (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dcal.data.transforms import Transform
from dcal.models.dcal import DCAL
from dcal.visual.attention_maps import enlarge, paint_rollout
from dcal.visual.ranked_lists import RankedList


def add_rollouts(
    lists: Sequence[RankedList],
    model: DCAL,
    transform: Transform,
    *,
    device: torch.device,
    num_blocks: int | None = None,
) -> list[RankedList]:
    """Return each list followed by the same one as the model sees it, under its SA rollout.

    Args:
        lists: As `build_lists` loaded them.
        model: In evaluation mode, with the card of its file; it is moved to `device`.
        transform: What prepares its pictures.
        device: Where to run.
        num_blocks: Depth of the rollout; None = all blocks.

    Raises:
        ValueError: `num_blocks` is not 1 to L.
        FileNotFoundError, OSError: A picture is gone or damaged.
    """
    model.to(device)
    both = []
    for ranked in lists:
        shown = (ranked.query, *ranked.answers)
        painted = _paint([one.path for one in shown], model, transform, device, num_blocks)
        looking = [
            replace(one, image=image, lines=()) for one, image in zip(shown, painted, strict=True)
        ]
        both += [ranked, RankedList(looking[0], tuple(looking[1:]))]
    return both


def _paint(
    paths: Sequence[Path | None],
    model: DCAL,
    transform: Transform,
    device: torch.device,
    num_blocks: int | None,
) -> list[np.ndarray]:
    assert all(path is not None for path in paths)
    images = torch.stack([transform(transform.load(path)) for path in paths if path is not None])
    rollouts = model.rollout(images.to(device), num_blocks).float().cpu().numpy()
    settings = model.card["preprocessing"]
    mean, std = (torch.tensor(settings[key])[:, None, None] for key in ("mean", "std"))
    pixels = ((images * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    return [
        paint_rollout(enlarge(np.ascontiguousarray(image.permute(1, 2, 0).numpy())), rollout)
        for image, rollout in zip(pixels, rollouts, strict=True)
    ]
