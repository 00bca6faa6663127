"""Scores of where a model looks, against the model's own public rollout."""

from __future__ import annotations

import pytest
import torch

from dcal.inference.localization import compute_looking, describe_choice, score_looking
from dcal.metrics.localization import chosen_on_mask, energy_share, pointing_game_hit
from tests.models.factory import make_images, make_model

CPU = torch.device("cpu")


def make_mask(row: int) -> torch.Tensor | None:
    mask = torch.zeros(16, 24, dtype=torch.bool)
    if row == 1:
        return None
    if row != 2:
        mask[4:9, 5 + row : 12 + row] = True
    return mask


def test_both_depths_are_scored_and_pictures_without_parts_are_counted() -> None:
    model = make_model(glca_blocks=2).eval()
    batch = {"image": make_images(4), "row": torch.arange(4)}
    scores, num_left_out = score_looking(
        model, [batch], make_mask, device=CPU, num_blocks=None, tolerance=0.0
    )
    assert num_left_out == 2
    assert scores["row"].tolist() == [0, 0, 3, 3]
    assert scores["num_blocks"].tolist() == [4, 2, 4, 2]
    assert scores["branch"].tolist() == ["sa", "selection", "sa", "selection"]


def test_scores_are_those_of_the_public_rollout_and_choice() -> None:
    model = make_model().eval()
    images = make_images(4)
    scores, _ = score_looking(
        model,
        [{"image": images, "row": torch.arange(4)}],
        make_mask,
        device=CPU,
        num_blocks=2,
        tolerance=0.0,
    )
    mask = make_mask(3)
    assert mask is not None
    for branch, depth in (("sa", 2), ("selection", 3)):
        rollout = model.rollout(images, depth)[3]
        found = scores[(scores["row"] == 3) & (scores["branch"] == branch)].iloc[0]
        assert found["energy_share"] == pytest.approx(energy_share(rollout, mask), abs=1e-6)
        assert found["pointing_game"] == pointing_game_hit(rollout, mask)
    chosen = model(images).local_indices[3]
    expected = chosen_on_mask(chosen, mask, grid_size=model.grid_size)
    assert (found["chosen_on_parts"], found["parts_chosen"]) == pytest.approx(expected)
    assert found["chosen_share"] == model.num_local_queries / model.num_patches


@pytest.mark.parametrize("changes", [{"readout": "class"}, {"glca_blocks": 0}])
def test_a_model_that_selects_nothing_has_no_scores_of_a_selection(changes: dict) -> None:
    scores, _ = score_looking(
        make_model(**changes).eval(),
        [{"image": make_images(1), "row": torch.tensor([3])}],
        make_mask,
        device=CPU,
        num_blocks=None,
        tolerance=0.0,
    )
    assert scores["branch"].tolist() == ["sa"]
    assert "chosen_on_parts" not in scores and "chosen_share" not in scores


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "GLCA choice: 9 of 24 patches"),
        ({"readout": "class"}, "nothing is chosen (read-out class); top_r 0.4 would take 9 of"),
        ({"glca_blocks": 0}, "nothing is chosen (GLCA off)"),
    ],
)
def test_what_is_not_chosen_is_said_and_shown_as_what_would_be(changes: dict, said: str) -> None:
    model = make_model(**changes).eval()
    looking = compute_looking(model, make_images(2), num_blocks=None)
    assert describe_choice(looking, model).startswith(said)
    assert looking.chosen.shape == (2, 9)
    depth = 4 - model.config.glca_blocks
    best = model.rollout(make_images(2), depth).flatten(1).argmax(dim=1)
    assert (looking.chosen[:, 0] == best).all()


@pytest.mark.parametrize("glca_blocks", [1, 2])
def test_the_chosen_patches_are_those_of_the_forward_pass(glca_blocks: int) -> None:
    model = make_model(glca_blocks=glca_blocks).eval()
    looking = compute_looking(model, make_images(5), num_blocks=None)
    assert looking.is_chosen
    assert (looking.chosen == model(make_images(5)).local_indices).all()
