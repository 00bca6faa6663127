"""What the train stage refuses before it trains, and what makes a run another run."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from dcal.models.backbone import create_backbone, get_normalisation
from pipelines.train import check_rollout_depth, compute_run_fingerprint
from tests.training.factory import make_run_config


def fingerprint(data_digest="d", **changes) -> str:
    return compute_run_fingerprint(make_run_config(**changes), data_digest=data_digest)


def test_parameters_data_and_seed_make_another_run():
    base = fingerprint()
    assert base == fingerprint()
    others = [
        fingerprint(data_digest="e"),
        fingerprint(seed=1),
        fingerprint(epochs=3),
        fingerprint(model={"top_r": 0.5}),
        fingerprint(loss={"label_smoothing": 0.1}),
    ]
    assert len({base, *others}) == 6


def test_how_a_run_is_watched_does_not_make_it_another():
    assert fingerprint(workers=2, log_every=7) == fingerprint()


def test_the_bytes_of_the_starting_weights_count_not_their_name_alone(tmp_path: Path):
    backbone = create_backbone("dcal_pico", image_size=(16, 24))
    path = tmp_path / "start.safetensors"
    save_file(backbone.state_dict(), path)
    before = fingerprint(model={"weights": str(path)})
    state = backbone.state_dict()
    state["norm.weight"] = state["norm.weight"] + 1
    save_file(state, path)
    assert fingerprint(model={"weights": str(path)}) != before


def test_a_rollout_deeper_than_the_model_is_refused_before_training():
    config = make_run_config()
    changed = config.model_copy(
        update={"rollout": config.rollout.model_copy(update={"num_blocks": 99})}
    )
    check_rollout_depth(config, 6)
    with pytest.raises(ValueError, match=r"rollout.num_blocks: expected 1 to 6"):
        check_rollout_depth(changed, 6)


@pytest.mark.parametrize(
    "name, message",
    [
        ("deit_tinny_patch16_224", "some that are: .*deit_tiny_patch16_224"),
        ("deit_tiny_patch16_224.wrong", "has no tag wrong; it has fb_in1k"),
    ],
)
def test_an_unknown_backbone_is_refused_wherever_it_is_met_first(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        get_normalisation(name)
    with pytest.raises(ValueError, match=message):
        create_backbone(name, image_size=(224, 224))
