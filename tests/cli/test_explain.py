"""`dcal explain`, as a user types it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from dcal.cli.app import app
from tests.data.factory import write_picture
from tests.inference.model_files import write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_model(folder / "model.safetensors")
    for folder_name in ("a", "b"):
        write_picture(folder / folder_name / "one.png", seed=len(folder_name))
    (folder / "bad.png").write_bytes(b"%PDF-1.7")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explain(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["explain", "model.safetensors", *arguments])
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def test_each_picture_has_a_figure_and_bad_ones_are_named(place: Path) -> None:
    result = explain("a", "bad.png", "b", "--output", "seen", status=1)
    assert result.stdout == "seen: figures drawn: 2\n"
    assert result.stderr.startswith("error: 1 of 3 pictures were passed over:\n  bad.png: ")
    assert sorted(path.name for path in Path("seen").iterdir()) == [
        "index.csv",
        "one-2.png",
        "one.png",
    ]
    with Image.open("seen/one.png") as image:
        assert image.width > 800 and image.height > 400
    with open("seen/index.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["figure"], row["picture"]) for row in rows] == [
        ("one.png", "a/one.png"),
        ("one-2.png", "b/one.png"),
    ]
    assert all(row["class_name"] in ("one", "two", "three") for row in rows)


def test_one_picture_may_become_one_file(place: Path) -> None:
    explain("a/one.png", "--output", "seen.png")
    with Image.open("seen.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a", "b", "--output", "seen.png"], "error: seen.png: expected one picture for a file"),
        (["a", "--output", "no/seen"], "error: no/seen: expected the folder no to be there"),
        (["a", "--output", "seen.jpg"], "error: seen.jpg: expected a folder or a name that ends"),
        (["a", "--output", "bad"], "error: bad: expected a folder or a name that ends in .png"),
    ],
)
def test_a_mistake_is_one_sentence(place: Path, arguments: list[str], sentence: str) -> None:
    (place / "bad").write_text("mine")
    result = explain(*arguments, status=1)
    assert result.stderr.startswith(sentence) and len(result.stderr.splitlines()) == 1
    assert (place / "bad").read_text() == "mine"


def test_an_existing_folder_keeps_its_files(place: Path) -> None:
    (place / "seen").mkdir()
    (place / "seen" / "mine.txt").write_text("mine")
    explain("a", "--output", "seen")
    assert (place / "seen" / "mine.txt").read_text() == "mine"
