"""What bf16 changes: roundings, and now and then a selected patch; no sum of the rollout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dcal
from dcal.data.synthetic import choose_classes, draw_bird
from dcal.models.dcal import DCALOutput
from dcal.training.branches import compute_probabilities

NUM_IMAGES = 24
# A bf16 number has 8 bits, so each rounding is up to 2^-9 of it, and six blocks make some dozen
# that add up as independent errors do: to about 2^-7. Seen: 0.011 of a logit vector's length,
# 0.018 of a rollout score. With room for processors that sum in another order:
TOLERANCE = 2**-5


@pytest.fixture(scope="module")
def model(request):
    config = dcal.load_config(request.config.rootpath / "params.yaml").model
    assert config.weights == "embedded"
    torch.manual_seed(0)
    return dcal.build_model(config, NUM_IMAGES).eval()


def draw_birds() -> torch.Tensor:
    combinations = choose_classes(NUM_IMAGES, seed=0)
    birds = [draw_bird(combination, seed=1, index=0).image for combination in combinations]
    return torch.from_numpy(np.stack(birds)).permute(0, 3, 1, 2).float() / 127.5 - 1


def draw_noise() -> torch.Tensor:
    return torch.randn(NUM_IMAGES, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def run(model, images, precision) -> DCALOutput:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        return model(images)


PICTURES = pytest.mark.parametrize("draw", [draw_birds, draw_noise])


@PICTURES
def test_bf16_gives_the_numbers_of_fp32_where_both_read_the_same_patches(model, draw, monkeypatch):
    images = draw()
    expected = run(model, images, "fp32")
    chosen = expected.local_indices
    monkeypatch.setattr(model, "choose_patches", lambda scores, *, num_images: chosen)
    found = run(model, images, "bf16")
    assert found.sa_logits.dtype == torch.bfloat16
    for name in ("sa_logits", "glca_logits", "sa_features", "glca_features"):
        ours, theirs = getattr(found, name).float(), getattr(expected, name)
        distances = (ours - theirs).norm(dim=1) / theirs.norm(dim=1)
        assert 0 < distances.max() < TOLERANCE, name


@PICTURES
def test_bf16_gives_the_probabilities_of_fp32_where_both_read_the_same_patches(
    model, draw, monkeypatch
):
    images = draw()
    expected = run(model, images, "fp32")
    chosen = expected.local_indices
    monkeypatch.setattr(model, "choose_patches", lambda scores, *, num_images: chosen)
    found = compute_probabilities(run(model, images, "bf16"))
    for branch, theirs in compute_probabilities(expected).items():
        # A probability changes by about the share that its logit changes by; these are below 1.
        assert found[branch].dtype == torch.float32
        torch.testing.assert_close(found[branch], theirs, rtol=TOLERANCE, atol=0)


@PICTURES
def test_bf16_selects_nearly_the_patches_of_fp32(model, draw):
    # Scores that are a rounding apart change places, so equality is not to be had. Of 480 birds
    # 0.35 % of the patches do, in no picture more than one of 19.
    images = draw()
    ours, theirs = (run(model, images, name).local_indices for name in ("bf16", "fp32"))
    is_kept = (ours[:, :, None] == theirs[:, None, :]).any(dim=2)
    flipped = 1 - is_kept.float().mean()
    print(f"{draw.__name__}: {flipped:.2%} of the selected patches differ")
    assert flipped < 0.02
    assert (~is_kept).sum(dim=1).max() <= 2


@PICTURES
def test_selections_differ_only_by_scores_that_a_rounding_could_exchange(model, draw):
    images = draw()
    depth = model.num_blocks - model.config.glca_blocks
    scores = model.rollout(images, depth).flatten(1)
    ours, theirs = (run(model, images, name).local_indices for name in ("bf16", "fp32"))
    worst = scores.gather(1, theirs).amin(dim=1)
    assert (scores.gather(1, ours).amin(dim=1) >= worst * (1 - TOLERANCE)).all()


@PICTURES
def test_bf16_changes_the_rollout_by_roundings_of_its_queries_and_keys(model, draw):
    images = draw()
    expected = model.rollout(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.rollout(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=0)
    assert not torch.equal(found, expected)


@PICTURES
def test_from_queries_and_keys_on_the_rollout_ignores_autocast(model, draw, monkeypatch):
    recorded = []
    compute = model._compute_patch_scores

    def record(blocks):
        recorded.extend(block() for block in blocks)
        return compute([lambda pair=pair: pair for pair in recorded])

    monkeypatch.setattr(model, "_compute_patch_scores", record)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.rollout(draw()).flatten(1)
    assert {part.dtype for pair in recorded for part in pair} == {torch.bfloat16}
    expected = compute([lambda pair=pair: pair for pair in recorded])
    assert torch.equal(found, expected)
