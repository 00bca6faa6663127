"""Pre-training of `dcal_pico`: name the parts of drawn birds (ours).

The class token names the value of every part; each patch token says which parts it shows and
names their values, which teaches the small details several times sooner.

Every picture is drawn for one step and never shown again, so nothing is augmented. The
combinations are disjoint from those that data sets of drawn birds use.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from statistics import fmean
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from dcal.config import ImageSize, Section
from dcal.data.drawn_batches import DrawnBatch, DrawnBatches
from dcal.data.synthetic import PART_VALUES, choose_pretraining_combinations
from dcal.models.pico import PICO_PATCH_SIZE, create_pico
from dcal.processor import prepare_cpu

logger = logging.getLogger(__name__)

# Both channels' statistics: 8-bit values become [-1, 1].
PIXEL_MEAN = PIXEL_STD = 0.5

_Count = Annotated[int, Field(ge=1)]
_PRESENT_SHARE = 0.1  # of a patch's pixels, from which on a part counts as shown
_TRAINING, _HELD_OUT = 0, 1  # second word of the drawing's seeds


class PretrainOptions(Section):
    """Everything that the embedded weights are a function of, beside the code."""

    seed: Annotated[int, Field(ge=0)] = 0
    image_size: ImageSize = (64, 64)
    num_combinations: _Count = 3200
    num_held_out_combinations: _Count = 256
    held_out_images: _Count = 1024
    steps: _Count = 2400
    batch_size: _Count = 48
    lr: Annotated[float, Field(gt=0)] = 1.5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_steps: _Count = 100
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    log_every: _Count = 50
    score_every: _Count = 400
    workers: Annotated[int, Field(ge=0)] = 1  # drawing processes; the result does not depend on it


class PretrainResult(NamedTuple):
    """The trained backbone and its log, one entry a logged step."""

    backbone: VisionTransformer
    history: list[dict[str, float]]


class PretrainBatches(NamedTuple):
    """What is trained on, and what is scored on: combinations that training does not show."""

    training: DrawnBatches
    held_out: DrawnBatches


class PartLogits(NamedTuple):
    """What a `PartClassifier` says."""

    values: list[Tensor]  # of the class token: (B, number of values) for every part
    patch_values: list[Tensor]  # of every patch: (B, N, number of values) for every part
    patch_presence: Tensor  # (B, N, 6)


class PartClassifier(nn.Module):
    """A backbone with linear classifiers on its class token and on its patch tokens."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        width, num_values = backbone.embed_dim, [len(names) for names in PART_VALUES.values()]
        self.backbone = backbone
        self.heads = nn.ModuleList(nn.Linear(width, number) for number in num_values)
        self.patch_heads = nn.ModuleList(nn.Linear(width, number) for number in num_values)
        self.presence_head = nn.Linear(width, len(num_values))

    def forward(self, images: Tensor) -> PartLogits:
        """Classify images (B, 3, H, W) of 8-bit values."""
        tokens = self.backbone.forward_features(normalise_pixels(images))
        class_token, patch_tokens = tokens[:, 0], tokens[:, self.backbone.num_prefix_tokens :]
        return PartLogits(
            [head(class_token) for head in self.heads],
            [head(patch_tokens) for head in self.patch_heads],
            self.presence_head(patch_tokens),
        )


def normalise_pixels(images: Tensor) -> Tensor:
    """Turn 8-bit values into the backbone's input, in [-1, 1]."""
    return (images.float() / 255 - PIXEL_MEAN) / PIXEL_STD


def pretrain(
    options: PretrainOptions, *, report: Callable[[dict[str, float]], None] | None = None
) -> PretrainResult:
    """Train `dcal_pico` from nothing; `report` is called with every entry of the history."""
    prepare_cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = PartClassifier(create_pico(options.image_size))
    optimizer = torch.optim.AdamW(_parameter_groups(model, options), lr=options.lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_and_cosine(options))
    batches = build_batches(options)
    history: list[dict[str, float]] = []
    losses: list[float] = []
    model.train()
    for step, batch in enumerate(_build_loader(batches.training, options), start=1):
        logits = model(batch.images)
        part_loss = compute_part_loss(logits.values, batch.values)
        loss = part_loss + compute_patch_loss(logits, batch.masks, batch.values)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        lr = float(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
        losses.append(part_loss.item())
        is_scored = step % options.score_every == 0 or step == options.steps
        if step % options.log_every == 0 or is_scored:
            entry: dict[str, float] = {"step": step, "lr": lr, "loss": fmean(losses)}
            entry |= compute_part_accuracies(model, batches.held_out) if is_scored else {}
            losses = []
            history.append(entry)
            if report is not None:
                report(entry)
    return PretrainResult(model.backbone.eval(), history)


def compute_part_loss(logits: list[Tensor], values: Tensor) -> Tensor:
    """Sum the class token's cross-entropies over the parts."""
    return torch.stack(
        [
            functional.cross_entropy(part_logits, values[:, part])
            for part, part_logits in enumerate(logits)
        ]
    ).sum()


def compute_patch_loss(logits: PartLogits, masks: Tensor, values: Tensor) -> Tensor:
    """Sum the patches' losses over the parts: is the part here, and if it is, which value.

    A patch counts towards a part's value by the share of its pixels that show the part.
    """
    grid_size = (masks.shape[1] // PICO_PATCH_SIZE, masks.shape[2] // PICO_PATCH_SIZE)
    shares = compute_part_shares(masks, grid_size=grid_size)  # (B, N, 6)
    loss = (
        functional.binary_cross_entropy_with_logits(
            logits.patch_presence, (shares > _PRESENT_SHARE).to(shares.dtype), reduction="none"
        )
        .mean(dim=(0, 1))
        .sum()
    )
    for part, part_logits in enumerate(logits.patch_values):
        targets = values[:, part, None].expand(-1, part_logits.shape[1])
        terms = functional.cross_entropy(part_logits.mT, targets, reduction="none")  # (B, N)
        weights = shares[..., part]
        loss = loss + (terms * weights).sum() / weights.sum().clamp(min=1e-6)
    return loss


def compute_part_shares(masks: Tensor, *, grid_size: tuple[int, int]) -> Tensor:
    """Return the share of each patch that each part covers, (B, N, 6), from masks (B, H, W)."""
    one_hot = functional.one_hot(masks.long(), len(PART_VALUES) + 1)[..., 1:]  # (B, H, W, 6)
    shares = functional.adaptive_avg_pool2d(one_hot.permute(0, 3, 1, 2).float(), grid_size)
    return shares.flatten(2).mT


@torch.no_grad()
def compute_part_accuracies(model: PartClassifier, batches: DrawnBatches) -> dict[str, float]:
    """Return each part's accuracy, and `all` for pictures with every part right."""
    was_training = model.training
    model.eval()
    rows = []
    for batch in batches:
        logits = model(batch.images).values
        guesses = torch.stack([part_logits.argmax(dim=1) for part_logits in logits], dim=1)
        rows.append(guesses == batch.values)
    model.train(was_training)
    is_right = torch.cat(rows).double()  # (N, 6)
    accuracies = dict(zip(PART_VALUES, is_right.mean(dim=0).tolist(), strict=True))
    return {**accuracies, "all": is_right.prod(dim=1).mean().item()}


def build_batches(options: PretrainOptions) -> PretrainBatches:
    """Prepare the drawing of both sets; nothing is drawn yet."""
    training = DrawnBatches(
        choose_pretraining_combinations(options.num_combinations, seed=options.seed),
        num_batches=options.steps,
        batch_size=options.batch_size,
        image_size=options.image_size,
        seed=(options.seed, _TRAINING),
    )
    held_out = DrawnBatches(
        choose_pretraining_combinations(
            options.num_held_out_combinations, seed=options.seed, skip=options.num_combinations
        ),
        num_batches=math.ceil(options.held_out_images / options.batch_size),
        batch_size=options.batch_size,
        image_size=options.image_size,
        seed=(options.seed, _HELD_OUT),
    )
    return PretrainBatches(training, held_out)


def _build_loader(batches: DrawnBatches, options: PretrainOptions) -> DataLoader[DrawnBatch]:
    return DataLoader(
        batches,
        batch_size=None,
        num_workers=options.workers,
        # Not used for anything, but without one the loader draws from the global generator.
        generator=torch.Generator(),
    )


def _parameter_groups(model: nn.Module, options: PretrainOptions) -> list[dict[str, object]]:
    """Split off what weight decay would only harm: biases, norms, class token, positions."""
    decayed = [p for p in model.parameters() if p.ndim in (2, 4)]
    others = [p for p in model.parameters() if p.ndim not in (2, 4)]
    return [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _warm_up_and_cosine(options: PretrainOptions) -> Callable[[int], float]:
    def ratio(step: int) -> float:
        if step < options.warmup_steps:
            return (step + 1) / options.warmup_steps
        progress = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return ratio
