"""An exported model computes what the model computes, whatever the size and the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dcal.inference.export import ExportedModel, Form, export_model, open_exported
from dcal.inference.opening import load_model
from dcal.inference.parity import TOLERANCE, Parity, compare, make_pixels
from tests.inference.model_files import write_model

SHAPES = ((1, 3, 16, 24), (3, 3, 33, 70), (2, 3, 100, 41), (1, 3, 1, 1))


def write(folder: Path, **changes) -> ExportedModel:
    path = write_model(folder / "model.safetensors", **changes)
    return ExportedModel(load_model(path)).eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = write_model(tmp_path_factory.mktemp("made") / "model.safetensors")
    return load_model(path)


@pytest.mark.parametrize("form", Form)
def test_any_size_and_batch_gives_the_models_own_answers(form, model, tmp_path):
    path = tmp_path / f"model.{form}"
    exported = export_model(model, path, form)
    run = open_exported(path, form, threads=1)
    for shape in SHAPES:
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        with torch.inference_mode():
            ours, theirs = exported(pixels), run(pixels)
        assert exported.outputs == ["probabilities", "local_indices"]
        torch.testing.assert_close(theirs[0], ours[0], atol=TOLERANCE, rtol=0)
        assert torch.equal(theirs[1], ours[1])


def test_its_preprocessing_is_that_of_the_test_time(tmp_path):
    from PIL import Image

    from dcal.inference.recipe import build_transform

    exported = write(tmp_path, transforms={"resize": [20, 31], "test_crop": "center"})
    pixels = torch.randint(0, 256, (50, 60, 3), dtype=torch.uint8)
    theirs = build_transform(exported.model)(Image.fromarray(pixels.numpy()))
    ours = exported.prepare(pixels.permute(2, 0, 1)[None])[0]
    assert ours.shape == theirs.shape == (3, 16, 24)
    # A level of 255 is 1/255 before, and 4/255 after the division by a deviation of 0.25.
    assert (ours - theirs).abs().max() <= 4.1 / 255
    assert ((ours - theirs).abs() > 1e-5).float().mean() < 0.02


def test_a_comparison_finds_a_model_that_is_another_one(model):
    exported = ExportedModel(model).eval()
    pixels = make_pixels(model, num=3)
    same = compare(exported, exported, pixels).graph
    assert (same.largest, same.changed, same.flips, same.num_pictures) == (0.0, 0.0, 0.0, 5)

    def run(images):
        probabilities, chosen = exported(images)
        return probabilities.flip(1), (chosen + 1) % model.num_patches

    other = compare(exported, run, pixels)
    assert other.graph.largest > TOLERANCE and other.graph.flips > 0
    assert same.is_same and not other.graph.is_same


def test_what_a_model_has_not_is_not_told():
    told = Parity(8, 1e-6, None, None, 1e-6)
    assert told.is_same and told.describe("it") == "it: 8 pictures, largest difference 1.0e-06"


@pytest.mark.parametrize(
    ("unexplained", "flips", "is_same"),
    [(1e-6, 0, True), (0.3, 0, False), (1e-6, 0.005, True), (0.3, 0.005, False), (0, 0.5, False)],
)
def test_a_few_exchanged_patches_are_forgiven_and_nothing_else(unexplained, flips, is_same):
    assert Parity(8, 0.3, 0.0, flips, unexplained).is_same == is_same


def test_an_exchanged_patch_of_one_picture_excuses_no_other_picture(model):
    exported = ExportedModel(model).eval()
    pixels = make_pixels(model, num=3)

    def exchange(images):
        probabilities, chosen = exported(images)
        if not torch.equal(images, pixels[0]):
            return probabilities, chosen
        others = [patch for patch in range(model.num_patches) if patch not in chosen]
        chosen = torch.cat([chosen[:, :-1], torch.tensor([others[:1]])], dim=1)
        return probabilities + 0.2, chosen

    found = compare(exported, exchange, pixels).graph
    assert found.flips > 0 and found.largest == pytest.approx(0.2) and found.unexplained == 0

    def exchange_and_err(images):
        probabilities, chosen = exchange(images)
        return probabilities + 0.1 * torch.equal(images, pixels[1]), chosen

    assert compare(exported, exchange_and_err, pixels).graph.unexplained == pytest.approx(0.1)


def test_an_answer_that_is_no_number_is_not_the_same(model):
    exported = ExportedModel(model).eval()
    pixels = make_pixels(model, num=3)

    def run(images):
        probabilities, chosen = exported(images)
        return probabilities * (float("nan") if torch.equal(images, pixels[1]) else 1), chosen

    found = compare(exported, run, pixels).graph
    assert found.largest > 1 and not found.is_same


@pytest.mark.parametrize(
    ("changes", "outputs"),
    [
        ({"model": {"readout": "class"}}, ["probabilities"]),
        ({"model": {"glca_blocks": 0}}, ["probabilities"]),
        ({"model": {"readout": "local", "glca_blocks": 2}}, ["probabilities", "local_indices"]),
    ],
)
def test_other_models_have_other_outputs(changes, outputs, tmp_path):
    exported = write(tmp_path, **changes)
    assert exported.outputs == outputs
    found = exported(torch.zeros(2, 3, 20, 20, dtype=torch.uint8))
    assert len(found) == len(outputs)
    torch.testing.assert_close(found[0].sum(dim=1), torch.ones(2))
