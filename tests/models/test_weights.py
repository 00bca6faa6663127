"""Weights arrive bit for bit, or one sentence says what does not fit."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from dcal.models import backbone as backbone_module
from dcal.models import build_model, load_model
from dcal.models.backbone import create_backbone, get_grid_size, resample_positions
from dcal.models.weights import (
    EMBEDDED_WEIGHTS,
    load_backbone_weights,
    read_tensors,
    save_model,
    save_weights,
)
from tests.models.factory import make_config

TINY = "deit_tiny_patch16_224"


def make_source(path: Path, **options):
    torch.manual_seed(7)
    source = timm.create_model(TINY, num_classes=1000, **options)
    save_file(source.state_dict(), path)
    return source.state_dict()


def config_of(path, **changes):
    values = {"backbone": TINY, "image_size": (224, 224), "weights": str(path), "pwca_blocks": 12}
    return make_config(**{**values, **changes})


def test_loaded_weights_survive_construction_bit_for_bit(tmp_path):
    source = make_source(tmp_path / "tiny.safetensors")
    model = build_model(config_of(tmp_path / "tiny.safetensors"), 7)
    state = model.backbone.state_dict()
    assert len(state) == 150
    for name, tensor in state.items():
        assert torch.equal(tensor, source[name]), name
    last = model.backbone.blocks[-1].state_dict()
    for name, tensor in model.glca_blocks[0].state_dict().items():
        assert torch.equal(tensor, last[name]), name


def test_only_position_embeddings_change_on_another_grid(tmp_path, caplog):
    source = make_source(tmp_path / "tiny.safetensors")
    with caplog.at_level(logging.WARNING):
        model = build_model(config_of(tmp_path / "tiny.safetensors", image_size=(256, 128)), 7)
    assert "from 14 x 14 to 16 x 8" in caplog.text
    for name, tensor in model.backbone.state_dict().items():
        if name != "pos_embed":
            assert torch.equal(tensor, source[name]), name
    expected = resample_positions(
        source["pos_embed"], old_grid=(14, 14), new_grid=(16, 8), num_prefix_tokens=1
    )
    assert torch.equal(model.backbone.pos_embed, expected)


def test_resampled_positions_keep_prefix_and_orientation():
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    grid = torch.stack((rows, columns), dim=-1).reshape(1, 24, 2)
    positions = torch.cat((torch.full((1, 1, 2), -9.0), grid), dim=1)
    resized = resample_positions(positions, old_grid=(4, 6), new_grid=(8, 3), num_prefix_tokens=1)
    assert torch.equal(resized[:, 0], positions[:, 0])
    maps = resized[0, 1:].reshape(8, 3, 2)
    assert (maps[1:, :, 0] > maps[:-1, :, 0]).all()  # rows still grow downwards
    assert (maps[:, 1:, 1] > maps[:, :-1, 1]).all()  # and columns to the right


def test_hub_weights_go_through_the_same_door(tmp_path, monkeypatch):
    source = make_source(tmp_path / "hub.safetensors")
    monkeypatch.setattr(
        backbone_module, "_fetch_hub_weights", lambda name: tmp_path / "hub.safetensors"
    )
    model = build_model(config_of("hub"), 7)
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, source[name]), name


def test_hub_without_a_network_names_the_alternatives(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def fail(*arguments):
        raise OSError("no such host")

    monkeypatch.setattr(backbone_module.socket, "getaddrinfo", fail)
    monkeypatch.setattr(backbone_module.urllib.request, "getproxies", dict)
    with pytest.raises(RuntimeError, match=r"weights=embedded .* weights=none, or the path"):
        build_model(config_of("hub"), 7)


def test_a_pickle_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    for name in ("bomb.pth", "bomb.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({"model": Bomb()}, protocol=2))
        with pytest.raises(ValueError, match=name):
            read_tensors(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_an_old_checkpoint_of_plain_tensors_is_read(tmp_path):
    source = make_source(tmp_path / "tiny.safetensors")
    torch.save({"model": source}, tmp_path / "tiny.pth")
    model = build_model(config_of(tmp_path / "tiny.pth"), 7)
    assert torch.equal(model.backbone.norm.weight, source["norm.weight"])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda state: state.pop("norm.weight"), "lacks 1 of the model's tensors"),
        (lambda state: state.update(extra=torch.zeros(1)), "unknown to this model"),
        (lambda state: state.update({"norm.weight": torch.ones(3)}), "in another shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, spoil, message):
    state = dict(timm.create_model(TINY).state_dict())
    spoil(state)
    save_file(state, tmp_path / "tiny.safetensors")
    backbone = create_backbone(TINY, image_size=(224, 224))
    with pytest.raises(ValueError, match=message):
        load_backbone_weights(backbone, tmp_path / "tiny.safetensors")


def test_missing_and_odd_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_tensors(tmp_path / "nothing.safetensors")
    (tmp_path / "weights.npz").write_bytes(b"x")
    with pytest.raises(ValueError, match="expected a .safetensors file"):
        read_tensors(tmp_path / "weights.npz")


def test_a_saved_model_comes_back_the_same(tmp_path):
    config = make_config(backbone="dcal_pico", image_size=(32, 64), pwca_blocks=6)
    torch.manual_seed(0)
    model = build_model(config, 3).eval()
    card = {
        "config": {"model": config.model_dump(mode="json")},
        "class_names": ["a", "b", "c"],
        "sides": {"cameras": [], "views": []},
    }
    save_model(tmp_path / "model.safetensors", model, card)
    loaded = load_model(tmp_path / "model.safetensors")
    assert not loaded.training
    images = torch.randn(2, 3, 32, 64)
    assert torch.equal(loaded(images).glca_logits, model(images).glca_logits)
    assert loaded.card["class_names"] == ["a", "b", "c"]


def test_start_from_a_dcal_file_takes_backbone_and_glca_but_no_head(tmp_path):
    config = make_config(backbone="dcal_pico", image_size=(32, 32), pwca_blocks=6)
    first = build_model(config, 3)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(0.1)
    save_weights(tmp_path / "first.safetensors", first, grid_size=first.grid_size)
    second = build_model(
        config.model_copy(update={"weights": str(tmp_path / "first.safetensors")}), 9
    )
    ours, theirs = second.state_dict(), first.state_dict()
    same = {
        name
        for name in ours
        if ours[name].shape == theirs[name].shape and torch.equal(ours[name], theirs[name])
    }
    assert {name.split(".")[0] for name in same} == {"backbone", "glca_blocks", "glca_norm"}


def test_a_model_without_its_card_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a model file; there is no such file"):
        load_model(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(FileNotFoundError, match="model.json beside it"):
        load_model(tmp_path / "model.safetensors")


def test_embedded_weights_arrive_bit_for_bit():
    config = make_config(
        backbone="dcal_pico", weights="embedded", image_size=(64, 64), pwca_blocks=6
    )
    model = build_model(config, 4)
    tensors, _ = read_tensors(EMBEDDED_WEIGHTS)
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name
    assert EMBEDDED_WEIGHTS.stat().st_size < 6_000_000


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weights": "embedded"}, "embedded weights exist for dcal_pico only"),
        ({"weights": "none", "image_size": (100, 224)}, "multiples of the patch size 16"),
        ({"weights": "none", "backbone": "nothing_at_all"}, "no model is called nothing_at_all"),
        ({"weights": "none", "backbone": "swin_tiny_patch4_window7_224"}, "cannot carry DCAL"),
        ({"weights": "none", "backbone": "vit_base_patch16_gap_224"}, "no class token"),
        ({"weights": "none", "stride": 20}, "model.stride: expected 1 to 16"),
        ({"weights": "hub", "backbone": "dcal_pico", "image_size": (64, 64)}, "not on the hub"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_model(config_of("none", **changes), 7)


def test_one_class_is_not_a_classification():
    with pytest.raises(ValueError, match="at least 2; got 1"):
        build_model(config_of("none"), 1)


@pytest.mark.parametrize("stride, grid", [(12, (21, 10)), (16, (16, 8)), (None, (16, 8))])
def test_overlapping_patches_have_their_own_grid(stride, grid):
    backbone = create_backbone(TINY, image_size=(256, 128), stride=stride)
    assert get_grid_size(backbone) == grid
    tokens = backbone.forward_features(torch.randn(1, 3, 256, 128))
    assert tokens.shape[1] == 1 + grid[0] * grid[1]


@pytest.mark.parametrize(
    "name, prefix",
    [
        ("deit_tiny_distilled_patch16_224", 2),
        ("deit_small_patch16_224", 1),
        ("dcal_pico", 1),
    ],
)
def test_backbones_by_name_run_on_rectangles(name, prefix):
    config = make_config(backbone=name, image_size=(64, 32), pwca_blocks=2)
    model = build_model(config, 3)
    output = model(torch.randn(2, 3, 64, 32), distractor_indices=torch.tensor([1, 0]))
    assert model.num_prefix_tokens == prefix
    assert output.sa_logits.shape == output.glca_logits.shape == output.pwca_logits.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "deit_base_patch16_224",
        "vit_base_patch16_224.augreg_in21k",
        "vit_base_r50_s16_224.orig_in21k",
    ],
)
def test_large_backbones_run_on_rectangles(name):
    model = build_model(make_config(backbone=name, image_size=(64, 32), pwca_blocks=2), 3)
    output = model(torch.randn(2, 3, 64, 32), distractor_indices=torch.tensor([1, 0]))
    assert model.grid_size == (4, 2)
    assert output.pwca_logits.shape == (2, 3)
