"""What an image gets depends on no other image, on no place in the batch, on no thread."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal.attention import rollout
from tests.models.factory import make_images, make_model

NUM_IMAGES = 5
FLOATS = ("sa_logits", "glca_logits", "sa_features", "glca_features")
KINDS = (
    {"readout": "class"},
    {"readout": "local"},
    {"readout": "class_local", "glca_blocks": 2},
    {"readout": "class_local", "patch_selection": "random"},
)
# As shares of the largest value. A batch of another size may be summed in another order: some
# hundred roundings of 2^-24 in float32. The rollout is float32 in any model, and sums to 1.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}
ROLLOUT_TOLERANCE = 1e-6


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@functools.cache
def build(kind, dtype):
    return make_model(**KINDS[kind]).eval().to(dtype)


@torch.no_grad()
def run(model, images):
    """Return the numbers and the patches of each image."""
    output = model(images)
    floats = {name: getattr(output, name) for name in FLOATS}
    return floats, model.rollout(images), output.local_indices


def assert_rows_agree(model, images, rows, *, dtype):
    """Run all images, and those rows of them as a batch of their own."""
    (whole, whole_rollout, whole_patches), (part, part_rollout, part_patches) = (
        run(model, images),
        run(model, images[rows]),
    )
    close = functools.partial(torch.testing.assert_close, rtol=0)
    close(part_rollout, whole_rollout[rows], atol=ROLLOUT_TOLERANCE)
    if whole_patches is not None:
        assert torch.equal(part_patches, whole_patches[rows])
    for name in FLOATS:
        scale = max(1.0, float(whole[name].abs().max()))
        close(part[name], whole[name][rows], atol=TOLERANCES[dtype] * scale)


BATCHES = st.permutations(range(NUM_IMAGES)).flatmap(
    lambda order: st.integers(1, NUM_IMAGES).map(lambda size: order[:size])
)
# Of these pictures no two scores that decide are nearer than 4e-7; batches differ by 1e-8.
SEEDS = st.integers(9, 67)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=lambda kind: str(KINDS[kind]))
@given(rows=BATCHES, seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_an_image_gets_the_same_alone_and_in_any_batch_and_order(kind, rows, seed):
    images = make_images(NUM_IMAGES, seed=seed)
    assert_rows_agree(build(kind, torch.float64), images, rows, dtype=torch.float64)


@pytest.mark.parametrize("rows", [[0], [3], [4, 1], [4, 2, 0, 1, 3]], ids=str)
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=lambda kind: str(KINDS[kind]))
def test_so_it_does_in_float32_but_for_roundings(kind, rows):
    images = make_images(NUM_IMAGES).float()
    assert_rows_agree(build(kind, torch.float32), images, rows, dtype=torch.float32)


@pytest.mark.parametrize("tile_bytes", [1, 2000, 6000])
def test_so_it_does_where_tiles_of_the_rollout_end_within_the_batch(tile_bytes, monkeypatch):
    monkeypatch.setattr(rollout, "TILE_BYTES", tile_bytes)
    images = make_images(NUM_IMAGES)
    for rows in ([2], [4, 1], [4, 2, 0, 1, 3]):
        assert_rows_agree(build(1, torch.float64), images, rows, dtype=torch.float64)


def test_the_number_of_threads_changes_nothing(threads):
    model, images = build(2, torch.float64), make_images(NUM_IMAGES)
    found, found_rollout, found_patches = run(model, images)
    torch.set_num_threads(3 - threads)
    expected, expected_rollout, expected_patches = run(model, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found_rollout, expected_rollout, rtol=0, atol=ROLLOUT_TOLERANCE)
    assert torch.equal(found_patches, expected_patches)


def test_a_model_that_mixes_its_batch_would_be_noticed(monkeypatch):
    model, images = build(0, torch.float64), make_images(NUM_IMAGES)
    monkeypatch.setattr(model, "_embed", lambda images, *sides: mix(type(model), model, images))
    with pytest.raises(AssertionError):
        assert_rows_agree(model, images, [4, 1], dtype=torch.float64)


def mix(kind, model, images):
    tokens = kind._embed(model, images, None, None)
    return tokens + 1e-6 * tokens.mean(dim=0)
