"""The random ablation of GLCA's selection."""

from __future__ import annotations

import copy

import pytest
import torch

from dcal.models import build_model
from dcal.models.cost import count_forward_macs
from dcal.models.weights import save_weights
from tests.models.factory import make_config, make_images, make_model


def make_random_model(**changes):
    return make_model(patch_selection="random", **changes)


def test_training_draws_other_patches_for_each_image_and_step():
    model, images = make_random_model(), make_images()
    torch.manual_seed(3)
    first, second = model(images).local_indices, model(images).local_indices
    assert first.shape == (3, model.num_local_queries)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0].sort().values, first[1].sort().values)
    torch.manual_seed(3)
    assert torch.equal(model(images).local_indices, first)


def test_evaluation_reads_the_same_patches_whatever_the_batch():
    model, images = make_random_model().eval(), make_images()
    whole, alone = model(images), model(images[1:2])
    assert torch.equal(whole.local_indices[0], whole.local_indices[2])
    torch.testing.assert_close(whole.glca_logits[1:2], alone.glca_logits)


def test_the_patches_of_evaluation_are_kept_with_the_weights():
    model, images = make_random_model().eval(), make_images()
    other = copy.deepcopy(model)
    other.patch_order.copy_(model.patch_order.flip(0))
    assert not torch.allclose(other(images).glca_logits, model(images).glca_logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images).glca_logits, model(images).glca_logits)


def build_pico(**changes):
    changes = {"backbone": "dcal_pico", "image_size": (32, 32), "pwca_blocks": 6, **changes}
    torch.manual_seed(0)
    return build_model(make_config(**changes), 3)


def test_the_weights_begin_as_those_of_a_model_that_selects_by_rollout():
    ours = build_pico(patch_selection="random").state_dict()
    theirs = build_pico().state_dict()
    assert ours.keys() - theirs.keys() == {"patch_order"}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("selections", [("random", "rollout"), ("rollout", "random")])
def test_either_kind_starts_from_a_file_of_the_other(selections, tmp_path):
    first, path = build_pico(patch_selection=selections[0]), tmp_path / "first.safetensors"
    with torch.no_grad():
        first.backbone.cls_token.fill_(7.0)
    save_weights(path, first, grid_size=first.grid_size)
    second = build_pico(patch_selection=selections[1], weights=str(path))
    assert (second.backbone.cls_token == 7.0).all()
    assert second(torch.zeros(2, 3, 32, 32)).local_indices is not None


def test_no_rollout_is_computed():
    assert count_forward_macs(make_random_model()).rollout == 0
    model = make_random_model()
    model._compute_patch_scores = lambda recorded: 1 / 0
    assert model(make_images()).local_indices is not None


def test_what_reads_no_patches_draws_none():
    for changes in ({"readout": "class"}, {"glca_blocks": 0}):
        model = make_random_model(**changes)
        assert "patch_order" not in model.state_dict()
        assert model(make_images()).local_indices is None
