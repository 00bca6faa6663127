"""A picture of another shape than the model's is used, and said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dcal.inference.own_pictures import read_batches
from dcal.inference.recipe import build_transform
from dcal.models.build import load_model
from tests.inference.model_files import write_model


@pytest.mark.parametrize(
    ("wider", "higher", "is_told"),
    [(1, 1, False), (2.9, 1, False), (1, 2.9, False), (3.1, 1, True), (1, 3.1, True), (9, 1, True)],
)
def test_a_shape_that_is_changed_more_than_threefold_is_told(
    wider: float, higher: float, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path / "model.safetensors")
    transform = build_transform(load_model(tmp_path / "model.safetensors"))
    height, width = transform.resize
    size = (round(10 * wider * width), round(10 * higher * height))
    for name in ("a.png", "b.png"):
        Image.new("RGB", size).save(tmp_path / name)
    Image.new("RGB", (width, height)).save(tmp_path / "square.png")
    paths = [tmp_path / name for name in ("a.png", "square.png", "b.png")]
    batches = list(read_batches(paths, transform, batch_size=2))
    assert sum(len(batch["row"]) for batch in batches) == 3
    told = f"a.png ({size[0]} x {size[1]})"
    assert (told in caplog.text) == is_told and "square.png" not in caplog.text
    assert len(caplog.records) == is_told
