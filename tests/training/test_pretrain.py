"""Pre-training of dcal_pico: its losses against plain loops, and what a run depends on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dcal.data.synthetic import PART_VALUES
from dcal.training.pretrain import (
    PartLogits,
    PretrainOptions,
    PretrainResult,
    build_batches,
    compute_part_loss,
    compute_part_shares,
    compute_patch_loss,
    normalise_pixels,
    pretrain,
)

NUM_PARTS = len(PART_VALUES)
TINY = PretrainOptions(
    image_size=(32, 48),
    num_combinations=12,
    num_held_out_combinations=6,
    held_out_images=6,
    steps=3,
    batch_size=4,
    warmup_steps=1,
    log_every=2,
    score_every=3,
    workers=0,
)


def train_tiny(**changes: int) -> PretrainResult:
    """Train a few steps with some options changed."""
    return pretrain(TINY.model_copy(update=changes))


def make_logits(num_images: int, num_patches: int) -> PartLogits:
    """Return random logits in float64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sizes = [len(values) for values in PART_VALUES.values()]
    return PartLogits(
        [normal(num_images, size) for size in sizes],
        [normal(num_images, num_patches, size) for size in sizes],
        normal(num_images, num_patches, NUM_PARTS),
    )


def make_masks_and_values() -> tuple[Tensor, Tensor]:
    """Return masks of 2 x 3 patches for four birds, and their part values."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(NUM_PARTS + 1, (4, 16, 24), generator=generator, dtype=torch.uint8)
    masks[:, :, :8] = 3  # patches that show one part only, and many parts absent elsewhere
    masks[masks == 6] = 0
    return masks, torch.randint(3, (4, NUM_PARTS), generator=generator)


def test_part_shares_equal_a_plain_count_on_a_rectangle() -> None:
    masks, _ = make_masks_and_values()
    shares = compute_part_shares(masks, grid_size=(2, 3))
    for image in range(4):
        for row in range(2):
            for column in range(3):
                patch = masks[image, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                for part in range(NUM_PARTS):
                    expected = (patch == part + 1).sum().item() / 64
                    assert shares[image, 3 * row + column, part].item() == pytest.approx(expected)


def test_the_part_loss_is_the_sum_of_the_mean_log_losses() -> None:
    logits, (_, values) = make_logits(4, 6), make_masks_and_values()
    expected = 0.0
    for part, scores in enumerate(logits.values):
        for image in range(4):
            shares = [math.exp(score) for score in scores[image].tolist()]
            expected -= math.log(shares[int(values[image, part])] / sum(shares)) / 4
    assert compute_part_loss(logits.values, values).item() == pytest.approx(expected)


def test_the_patch_loss_equals_plain_loops_and_ignores_parts_that_are_nowhere() -> None:
    logits, (masks, values) = make_logits(4, 6), make_masks_and_values()
    shares = compute_part_shares(masks, grid_size=(2, 3)).double()
    expected = 0.0
    for part in range(NUM_PARTS):
        named, weight = 0.0, 0.0
        for image in range(4):
            for patch in range(6):
                share = shares[image, patch, part].item()
                score = logits.patch_presence[image, patch, part].item()
                # The 8-bit masks give multiples of 1/64: none lies at the limit of a tenth.
                sign = 1 if share > 0.1 else -1
                expected += math.log1p(math.exp(-sign * score)) / 24
                scores = logits.patch_values[part][image, patch].tolist()
                right = scores[int(values[image, part])]
                named += share * (math.log(sum(math.exp(s) for s in scores)) - right)
                weight += share
        expected += named / weight if weight else 0.0
    assert compute_patch_loss(logits, masks, values).item() == pytest.approx(expected, rel=1e-5)


def test_pixels_become_minus_one_to_one() -> None:
    assert normalise_pixels(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_two_runs_with_one_seed_are_bit_identical_whatever_the_workers() -> None:
    first, second = train_tiny(), train_tiny(workers=1)
    assert first.history == second.history
    for name, tensor in first.backbone.state_dict().items():
        assert torch.equal(tensor, second.backbone.state_dict()[name]), name


def test_another_seed_gives_other_weights_and_training_moves_every_parameter() -> None:
    first, second = train_tiny(), train_tiny(seed=1)
    start = train_tiny(steps=1, warmup_steps=10**9)
    for name, parameter in first.backbone.named_parameters():
        moved = (parameter - start.backbone.get_parameter(name)).abs().max()
        assert moved > 1e-6, name
    tokens = [result.backbone.get_parameter("cls_token") for result in (first, second)]
    assert not torch.equal(*tokens)


def test_the_run_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train_tiny(steps=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_combinations_are_never_trained_on() -> None:
    batches = build_batches(TINY.model_copy(update={"steps": 20}))
    shown = {tuple(row) for batch in batches.training for row in batch.values.tolist()}
    scored = {tuple(row) for batch in batches.held_out for row in batch.values.tolist()}
    assert shown and scored and not shown & scored


def test_no_picture_is_shown_twice() -> None:
    batches = build_batches(TINY.model_copy(update={"steps": 5}))
    pictures = [image.numpy().tobytes() for batch in batches.training for image in batch.images]
    pictures += [image.numpy().tobytes() for batch in batches.held_out for image in batch.images]
    assert len(set(pictures)) == len(pictures)


def test_the_history_has_scores_at_the_asked_steps_and_the_last() -> None:
    history = train_tiny(steps=5).history
    assert [entry["step"] for entry in history] == [2, 3, 4, 5]
    assert ["all" in entry for entry in history] == [False, True, False, True]
    assert all(0 <= history[1][part] <= 1 for part in PART_VALUES)
