"""Outputs and gradients of the model equal those of the method drawn out in full (float64)."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.models.factory import make_images, make_model
from tests.oracles import ExplicitDCAL

INDICES = torch.tensor([2, 0, 1])
BRANCH_OUTPUTS = (
    "sa_logits",
    "glca_logits",
    "pwca_logits",
    "sa_features",
    "glca_features",
    "pwca_features",
)


def assert_same(model, **distractors):
    """Compare every output, then the gradient of every parameter and of the images."""
    image_size = model.config.image_size
    images = make_images(image_size=image_size).requires_grad_()
    fast, slow = model(images, **distractors), ExplicitDCAL(model)(images, **distractors)
    for name in BRANCH_OUTPUTS:
        ours, theirs = getattr(fast, name), getattr(slow, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=name)
    if fast.local_indices is not None:
        assert torch.equal(fast.local_indices, slow.local_indices)
    compare_gradients(model, images, fast, slow)


def compare_gradients(model, images, fast, slow):
    inputs = [images, *model.parameters()]
    names = ["images", *(name for name, _ in model.named_parameters())]
    torch.manual_seed(1)
    logits = [name for name in BRANCH_OUTPUTS[:3] if getattr(fast, name) is not None]
    weights = {name: torch.randn(3, 5, dtype=torch.float64) for name in logits}
    gradients = []
    for output in (fast, slow):
        total = sum((getattr(output, name) * weights[name]).sum() for name in logits)
        gradients.append(torch.autograd.grad(total, inputs, allow_unused=True))
    for name, ours, theirs in zip(names, *gradients, strict=True):
        ours = torch.zeros(()) if ours is None else ours
        theirs = torch.zeros_like(ours) if theirs is None else theirs
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize(
    "readout, glca_blocks, pwca_blocks",
    list(itertools.product(["class", "local", "class_local"], [0, 1, 2], [0, 3, 4])),
)
def test_every_stream_equals_the_explicit_method(readout, glca_blocks, pwca_blocks):
    model = make_model(readout=readout, glca_blocks=glca_blocks, pwca_blocks=pwca_blocks)
    assert_same(model, **({"distractor_indices": INDICES} if pwca_blocks else {}))


@pytest.mark.parametrize("pwca_blocks", [1, 3, 4])
@pytest.mark.parametrize("stream", ["clean", "mutual"])
def test_both_streams_of_distractors_equal_the_explicit_method(stream, pwca_blocks):
    model = make_model(stream=stream, pwca_blocks=pwca_blocks)
    assert_same(model, distractor_indices=INDICES)


@pytest.mark.parametrize("pwca_blocks", [1, 4])
@pytest.mark.parametrize("stream", ["clean", "mutual"])
def test_distractors_from_outside_the_batch_equal_the_explicit_method(stream, pwca_blocks):
    model = make_model(stream=stream, pwca_blocks=pwca_blocks)
    assert_same(model, distractor_images=make_images(seed=9))


@pytest.mark.parametrize("image_size", [(32, 8), (8, 8), (12, 20)])
def test_rectangles_equal_the_explicit_method(image_size):
    assert_same(make_model(image_size=image_size), distractor_indices=INDICES)


@pytest.mark.parametrize(
    "options",
    [{}, {"no_embed_class": True}, {"qk_norm": True}, {"init_values": 0.5}, {"pre_norm": True}],
)
def test_registers_and_block_variants_equal_the_explicit_method(options):
    model = make_model(registers=3, options=options, glca_blocks=2)
    assert_same(model, distractor_indices=INDICES)


def test_gradient_checkpointing_changes_no_gradient():
    images = make_images()
    gradients = []
    for is_checkpointing in (False, True):
        model = make_model(glca_blocks=2)
        model.set_grad_checkpointing(is_checkpointing)
        output = model(images, distractor_indices=INDICES)
        total = output.sa_logits.sum() + output.glca_logits.sum() + output.pwca_logits.sum()
        gradients.append(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))
    for plain, recomputed in zip(*gradients, strict=True):
        assert (plain is None) == (recomputed is None)
        if plain is not None:
            torch.testing.assert_close(plain, recomputed, rtol=1e-10, atol=1e-12)


def test_the_sa_stream_is_the_backbone_itself():
    model = make_model()
    images = make_images()
    expected = model.backbone.forward_features(images)[:, 0]
    torch.testing.assert_close(model(images).sa_features, expected, rtol=1e-10, atol=1e-10)
