"""Where a trained model looks on pictures of one's own, block by block (ours)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dcal.inference.localization import Looking, describe_choice, get_selection_depth
from dcal.inference.own_pictures import read_batches
from dcal.inference.recipe import build_transform
from dcal.metrics.classification import compute_predictions
from dcal.models.dcal import DCAL
from dcal.training.branches import compute_probabilities

NUM_TOLD = 3  # classes


@dataclass(frozen=True)
class Explanation:
    """What a model makes of one picture; maps are on the patch grid, float32 on the CPU."""

    picture: Path
    image: Tensor  # (3, H, W) in [0, 1]: the picture as the model sees it
    predictions: list[tuple[str, float]]  # class and probability, best first; empty for Re-ID
    rollouts: Tensor  # (L, rows, columns): over blocks 1 to l, so the last one is over all
    attention: Tensor  # (L, rows, columns): of the class token in block l, mean over heads
    chosen: Tensor  # (R,) patch positions
    choice_label: str  # whose choice they are


@torch.inference_mode()
def explain_pictures(
    model: DCAL,
    pictures: Sequence[Path],
    *,
    device: torch.device,
    problems: dict[int, str],
    batch_size: int = 8,
) -> Iterator[Explanation]:
    """Yield what the model makes of each picture that can be read, in their order.

    Args:
        model: With its card, as `load_model` returns it; it is moved to `device`.
        pictures: Their files.
        device: Where to run.
        problems: Gets the position of each picture that cannot be read, and one sentence.
        batch_size: Pictures at once.
    """
    transform = build_transform(model)
    model.to(device)
    mean, std = (
        torch.tensor(model.card["preprocessing"][name])[:, None, None] for name in ("mean", "std")
    )
    for batch in read_batches(pictures, transform, batch_size=batch_size, problems=problems):
        images = batch["image"].to(device)
        depths = range(1, model.num_blocks + 1)
        rollouts = torch.stack([model.rollout(images, depth).float() for depth in depths], dim=1)
        selection = rollouts[:, get_selection_depth(model) - 1]
        chosen = model.choose_patches(selection.flatten(1), num_images=len(images)).cpu()
        looking = Looking(rollouts[:, -1], selection, chosen, model.selects_patches)
        attention = model.class_attention(images).float()
        said = _predict(model, images)
        for position, row in enumerate(batch["row"].tolist()):
            yield Explanation(
                picture=pictures[row],
                image=(batch["image"][position] * std + mean).clamp(0, 1),
                predictions=said[position],
                rollouts=rollouts[position].cpu(),
                attention=attention[position].cpu(),
                chosen=looking.chosen[position],
                choice_label=describe_choice(looking, model),
            )


def _predict(model: DCAL, images: Tensor) -> list[list[tuple[str, float]]]:
    card = model.card
    if card["config"]["dataset"]["kind"] == "reid":
        return [[] for _ in images]
    probabilities = list(compute_probabilities(model(images)).values())[-1].cpu()
    best = compute_predictions(probabilities, num_top=NUM_TOLD)
    return [
        [(str(card["class_names"][label]), float(row[label])) for label in labels]
        for row, labels in zip(probabilities, best.tolist(), strict=True)
    ]
