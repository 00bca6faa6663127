"""What holds of the model whatever its weights are."""

from __future__ import annotations

import copy

import pytest
import torch

from dcal.attention import core
from dcal.models import count_parameters, streams
from tests.models.factory import make_backbone, make_config, make_images, make_model
from tests.oracles import ExplicitDCAL

INDICES = torch.tensor([1, 2, 0])


def test_parameters_are_the_backbone_its_glca_copies_and_the_heads():
    backbone = count_parameters(make_backbone())
    block = count_parameters(make_backbone().blocks[0])
    norm = count_parameters(make_backbone().norm)
    head = 12 * 5 + 5
    for glca_blocks in (0, 1, 2):
        model = make_model(glca_blocks=glca_blocks, pwca_blocks=4)
        glca = glca_blocks * block + norm + head if glca_blocks else 0
        assert count_parameters(model) == backbone + head + glca


def test_pwca_adds_no_parameter():
    with_pwca, without = make_model(pwca_blocks=4), make_model(pwca_blocks=0)
    assert list(with_pwca.state_dict()) == list(without.state_dict())


def test_deit_tiny_grows_by_what_the_paper_says():
    from dcal.models import build_model

    config = make_config(backbone="deit_tiny_patch16_224", image_size=(448, 448))
    both = build_model(config, 200)
    alone = build_model(config.model_copy(update={"glca_blocks": 0, "pwca_blocks": 0}), 200)
    added = count_parameters(both) - count_parameters(alone)
    block = count_parameters(alone.backbone.blocks[0])
    assert added == block + 2 * 192 + 192 * 200 + 200
    assert round(100 * added / count_parameters(alone)) in (8, 9)  # the paper: 9 %
    assert block == 444_864


def test_a_distractor_equal_to_the_image_gives_self_attention():
    model = make_model()
    images = make_images()
    output = model(images, distractor_images=images.clone())
    torch.testing.assert_close(output.pwca_logits, output.sa_logits, rtol=1e-10, atol=1e-10)


def test_pwca_depends_on_the_distractor_and_sa_does_not():
    model = make_model()
    images = make_images()
    first = model(images, distractor_images=make_images(seed=1))
    second = model(images, distractor_images=make_images(seed=2))
    assert not torch.allclose(first.pwca_logits, second.pwca_logits)
    assert torch.equal(first.sa_logits, second.sa_logits)
    assert torch.equal(first.glca_logits, second.glca_logits)


def test_pwcas_loss_alone_reaches_every_sa_block_with_the_distractor_detached(monkeypatch):
    def join_detached(own, source, indices):
        return core.join_distractor(own, source.detach(), indices)

    monkeypatch.setattr(streams, "join_distractor", join_detached)
    model = make_model(pwca_blocks=4)
    others = make_images(seed=4).requires_grad_()
    model(make_images(), distractor_images=others).pwca_logits.sum().backward()
    assert others.grad is None or not others.grad.any()
    for block in model.backbone.blocks:
        assert block.attn.qkv.weight.grad.abs().sum() > 0
        assert block.mlp.fc1.weight.grad.abs().sum() > 0


def test_pwcas_loss_reaches_sa_blocks_and_the_distractors_pixels():
    model = make_model(pwca_blocks=4)
    images, others = make_images(), make_images(seed=4).requires_grad_()
    model(images, distractor_images=others).pwca_logits.sum().backward()
    assert all(block.attn.qkv.weight.grad.abs().sum() > 0 for block in model.backbone.blocks)
    assert others.grad.abs().sum() > 0  # gradients flow into the distractor's keys and values


def test_glcas_loss_reaches_the_sa_blocks_below_it():
    model = make_model(glca_blocks=1)
    model(make_images()).glca_logits.sum().backward()
    gradients = [block.attn.qkv.weight.grad for block in model.backbone.blocks]
    assert all(gradient.abs().sum() > 0 for gradient in gradients[:-1])
    assert gradients[-1] is None


def test_evaluation_ignores_pwca():
    model = make_model().eval()
    images = make_images()
    plain = model(images)
    given = model(images, distractor_indices=INDICES)
    assert given.pwca_logits is None
    assert torch.equal(plain.sa_logits, given.sa_logits)


@pytest.mark.parametrize("glca_blocks", [1, 2, 3])
def test_the_class_readout_cannot_depend_on_top_r(glca_blocks):
    images = make_images()
    logits = []
    for top_r in (0.05, 0.4, 1.0):
        model = make_model(readout="class", top_r=top_r, glca_blocks=glca_blocks)
        output = model(images)
        assert output.local_indices is None  # nothing is selected, no rollout is computed
        logits.append(output.glca_logits)
        # Nor does the method in full, which selects and computes all rows.
        explicit = ExplicitDCAL(model)(images).glca_logits
        torch.testing.assert_close(output.glca_logits, explicit, rtol=1e-9, atol=1e-9)
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[1], logits[2])


@pytest.mark.parametrize("readout", ["local", "class_local"])
def test_other_readouts_depend_on_top_r(readout):
    images = make_images()
    few = make_model(readout=readout, top_r=0.1)(images)
    many = make_model(readout=readout, top_r=0.6)(images)
    assert not torch.allclose(few.glca_logits, many.glca_logits)
    assert few.local_indices.shape == (3, 2) and many.local_indices.shape == (3, 14)


def test_all_patches_are_selected_at_a_share_of_one():
    output = make_model(top_r=1.0)(make_images())
    assert output.local_indices.sort(dim=1).values.tolist() == [list(range(24))] * 3


@pytest.mark.parametrize("image_size, grid", [((16, 24), (4, 6)), ((32, 8), (8, 2))])
def test_rollout_has_the_grids_shape_and_selects_what_glca_reads(image_size, grid):
    model = make_model(image_size=image_size, registers=2).eval()
    images = make_images(image_size=image_size)
    scores = model.rollout(images, num_blocks=model.num_blocks - 1)
    assert scores.shape == (3, *grid)
    chosen = model(images).local_indices
    expected = scores.flatten(1).sort(dim=1, descending=True, stable=True).indices
    assert torch.equal(chosen, expected[:, : model.num_local_queries])


def test_rollout_is_a_function_of_the_image_alone():
    model = make_model(drop_path=0.5)
    images = make_images()
    first = model.rollout(images)
    assert torch.equal(first, model.rollout(images))
    assert model.training
    for image in range(3):
        torch.testing.assert_close(model.rollout(images[image : image + 1])[0], first[image])


def test_class_attention_is_each_blocks_own_row_and_the_mode_is_left_as_it_was():
    model = make_model().train()
    images = make_images()
    rows = model.class_attention(images)  # (B, L, rows, columns)
    assert model.training
    model.eval()
    _, attentions = ExplicitDCAL(model).run_sa(images)  # each (B, h, N, N)
    prefix = model.num_prefix_tokens
    for block, attention in enumerate(attentions):
        own = attention.mean(dim=1)[:, 0, prefix:].float()
        torch.testing.assert_close(rows[:, block].flatten(1), own)
    # The first block's rollout is half of its attention, the other half is the token itself.
    torch.testing.assert_close(model.rollout(images, 1), rows[:, 0] / 2)


def test_rollout_refuses_a_depth_that_does_not_exist():
    with pytest.raises(ValueError, match="1 to 4; got 5"):
        make_model().rollout(make_images(), num_blocks=5)


def test_images_in_a_batch_do_not_touch_each_other():
    model = make_model().eval()
    images = make_images(4)
    whole = model(images)
    for image in range(4):
        alone = model(images[image : image + 1])
        torch.testing.assert_close(alone.glca_logits[0], whole.glca_logits[image])


def test_glca_blocks_begin_as_copies_of_the_blocks_beside_them():
    from dcal.models.dcal import DCAL

    backbone = make_backbone()
    model = DCAL(backbone, make_config(glca_blocks=2), num_classes=5)
    for copied, original in zip(model.glca_blocks, backbone.blocks[-2:], strict=True):
        for ours, theirs in zip(copied.parameters(), original.parameters(), strict=True):
            assert ours is not theirs and torch.equal(ours, theirs)


def test_heads_are_separate_and_the_class_token_leads():
    model = make_model()
    assert model.glca_head is not model.sa_head
    assert model.glca_norm is not model.backbone.norm


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"glca_blocks": 4}, "model.glca_blocks: expected 0 to 3"),
        ({"pwca_blocks": 5}, "model.pwca_blocks: expected 0 to 4"),
    ],
)
def test_impossible_depths_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_model(**changes)


def test_wrong_calls_are_refused_in_one_sentence():
    model = make_model()
    images = make_images()
    with pytest.raises(ValueError, match="not both"):
        model(images, distractor_indices=INDICES, distractor_images=images)
    with pytest.raises(ValueError, match=r"expected \(B, \(3, 16, 24\)\)"):
        model(images[:, :, :8])
    with pytest.raises(ValueError, match="pwca_blocks is 0"):
        make_model(pwca_blocks=0)(images, distractor_indices=INDICES)


def test_drop_path_draws_apart_for_the_two_streams():
    model = make_model(drop_path=0.9, pwca_blocks=4)
    images = make_images()
    torch.manual_seed(0)
    output = model(images, distractor_images=images.clone())
    assert not torch.allclose(output.pwca_logits, output.sa_logits)


def test_the_bn_neck_keeps_statistics_by_stream():
    model = make_model(neck="bnneck").train()
    images = make_images()
    before = model.sa_head.neck.running_mean.clone()
    output = model(images, distractor_indices=INDICES)
    expected = 0.9 * before + 0.1 * output.sa_features.mean(dim=0)
    torch.testing.assert_close(model.sa_head.neck.running_mean, expected)
    normalised = output.pwca_features - output.pwca_features.mean(dim=0)
    normalised = normalised / (output.pwca_features.var(dim=0, unbiased=False) + 1e-5).sqrt()
    neck = model.sa_head
    expected = (normalised * neck.neck.weight + neck.neck.bias) @ neck.classifier.weight.T
    torch.testing.assert_close(output.pwca_logits, expected)


def test_a_copy_of_the_model_is_independent():
    model = make_model()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.sa_head.classifier.weight.add_(1)
    assert not torch.equal(twin.sa_head.classifier.weight, model.sa_head.classifier.weight)
