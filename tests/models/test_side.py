"""Vectors of cameras and views, added to the tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dcal.models.build import build_model
from dcal.models.dcal import DCAL
from tests.models.factory import make_config

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make(kind: str = "camera_view", *, num_cameras: int = 3, num_views: int = 2, **changes: Any):
    torch.manual_seed(0)
    config = make_config(
        backbone="dcal_pico", image_size=(32, 32), side_information=kind, pwca_blocks=2, **changes
    )
    return build_model(config, 5, num_cameras=num_cameras, num_views=num_views)


def run(model: DCAL, **sides: Any) -> torch.Tensor:
    return model.eval()(IMAGES, **{k: torch.tensor(v) for k, v in sides.items()}).sa_features


def test_what_is_not_known_adds_nothing() -> None:
    model = make()
    plain = run(model)
    assert torch.equal(run(model, cameras=[-1] * 4, views=[-1] * 4), plain)
    some = run(model, cameras=[-1, 2, -1, 0], views=[-1, -1, -1, -1])
    assert torch.equal(some[[0, 2]], plain[[0, 2]])
    assert not torch.isclose(some[[1, 3]], plain[[1, 3]]).all(dim=1).any()


@pytest.mark.parametrize("kind", ["camera", "view", "camera_view"])
def test_only_what_was_asked_for_counts(kind: str) -> None:
    model = make(kind)
    plain = run(model)
    changes = {
        name: not torch.equal(run(model, **{name: [0, 1, 0, 1]}), plain)
        for name in ("cameras", "views")
    }
    assert changes == {"cameras": kind != "view", "views": kind != "camera"}


def test_the_vectors_are_scaled_and_on_every_token() -> None:
    model = make("camera", side_scale=2.0)
    assert model.side is not None
    tokens = torch.zeros(3, 5, model.backbone.embed_dim)
    added = model.side(tokens, torch.tensor([1, -1]), None)
    expected = 2.0 * model.side.tables["cameras"][1]
    torch.testing.assert_close(added[0], expected.expand(5, -1))
    # Neither the unknown one nor a distractor from outside the batch.
    assert not added[1:].any()


def test_the_vectors_are_trained_and_not_decayed() -> None:
    model = make().train()
    output = model(
        IMAGES,
        cameras=torch.tensor([0, 1, 2, -1]),
        views=torch.tensor([0, 1, 0, 1]),
        distractor_images=IMAGES.flip(0),
    )
    (output.sa_logits.sum() + output.pwca_logits.sum() + output.glca_logits.sum()).backward()
    tables = {name: value for name, value in model.named_parameters() if "side." in name}
    assert set(tables) == {"side.tables.cameras", "side.tables.views"} <= model.no_weight_decay()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in tables.values())


def test_the_rollout_sees_them() -> None:
    model = make("camera")
    cameras = torch.tensor([0, 1, 2, 0])
    assert not torch.equal(model.rollout(IMAGES), model.rollout(IMAGES, cameras=cameras))


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("camera", {"num_cameras": 0}),
        ("view", {"num_views": 0}),
        ("camera_view", {"num_views": 0}),
    ],
)
def test_a_set_without_them_is_refused(kind: str, counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"side_information: {kind} needs to be known"):
        make(kind, **counts)
