"""`dcal export`, as a user types it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dcal.cli.app import app
from dcal.inference import parity
from tests.data.factory import write_picture
from tests.inference.model_files import write_model


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_model(tmp_path / "model.safetensors")
    for number in range(2):
        write_picture(tmp_path / "photos" / f"{number}.png", seed=number)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["export", "model.safetensors", *arguments])
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def test_it_says_how_the_file_compares_with_the_model(place: Path) -> None:
    lines = export("--output", "a.pt2", "--pictures", "photos").stdout.splitlines()
    assert lines[0].startswith("a.pt2: ") and lines[0].endswith(" probabilities, local_indices")
    assert lines[1].startswith("beside the model, resized alike: 4 pictures, largest difference 0")
    assert lines[1].endswith("other class 0.0%, other patches 0.00%")
    assert lines[2].startswith("beside the model, resized by Pillow: 2 pictures, largest diff")
    assert (place / "a.pt2").stat().st_size > 10_000


def test_pictures_that_cannot_be_read_are_named_and_the_rest_compared(place: Path) -> None:
    (place / "bad.png").write_bytes(b"no picture")
    result = export("--output", "a.pt2", "--pictures", "bad.png", "--pictures", "photos", status=1)
    assert "resized by Pillow: 2 pictures" in result.stdout and (place / "a.pt2").is_file()
    assert result.stderr.startswith("error: 1 of 3 pictures were passed over:\n  bad.png: ")


def test_a_file_that_differs_is_not_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    said = export("--output", "a.pt2", status=1)
    assert said.stderr.startswith(
        "error: a.pt2: not written, because the exported model differs from"
    )
    assert sorted(path.name for path in place.iterdir()) == [
        "model.json", "model.safetensors", "photos",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--output", "a.bin"], "error: a.bin: expected a name that ends in .onnx or .pt2"),
        (["--output", "no/a.onnx"], "error: no/a.onnx: expected the folder no to be there"),
        (
            ["--output", "a.onnx", "--pictures", "gone.png"],
            "error: --pictures: none can be read: gone",
        ),
    ],
)
def test_a_mistake_is_one_sentence(place: Path, arguments: list[str], sentence: str) -> None:
    result = export(*arguments, status=1)
    assert result.stderr.startswith(sentence) and len(result.stderr.splitlines()) == 1
    assert not (place / "a.onnx").exists()
