"""`dcal predict`, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dcal.cli.app import app
from tests.data.factory import write_picture
from tests.inference.model_files import write_model

CLASSES = {"one", "two", "three"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_model(folder / "model.safetensors")
    for number in range(5):
        write_picture(folder / "photos" / f"picture [{number}].png", seed=number)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "bad.png").write_bytes(b"%PDF-1.7")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["predict", "model.safetensors", *arguments])
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def test_a_table_names_each_picture_and_its_class(place: Path) -> None:
    said = predict("photos").stdout
    for number in range(5):
        (line,) = (line for line in said.splitlines() if f"picture [{number}].png" in line)
        assert CLASSES & set(line.split())


def test_csv_has_a_line_a_picture_and_rank(place: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(predict("photos", "--format", "csv").stdout)))
    assert len(rows) == 15
    assert list(rows[0]) == ["picture", "rank", "label", "class_name", "probability"]
    for first in range(0, 15, 3):
        of_picture = rows[first : first + 3]
        assert [row["rank"] for row in of_picture] == ["1", "2", "3"]
        assert {row["class_name"] for row in of_picture} == CLASSES
        assert sum(float(row["probability"]) for row in of_picture) == pytest.approx(1, abs=3e-6)


def test_json_names_what_was_passed_over_and_the_rest_is_done(place: Path) -> None:
    result = predict("photos", "bad.png", "gone.png", "--format", "json", status=1)
    content = json.loads(result.stdout)
    assert len(content["pictures"]) == 5 and content["branch"] == "both"
    assert [each["picture"] for each in content["left_out"]] == ["bad.png", "gone.png"]
    assert "not a picture of a known kind" in content["left_out"][0]["reason"]
    assert result.stderr.startswith("error: 2 of 7 pictures were passed over:\n  bad.png: ")
    assert "gone.png: no such file" in result.stderr


def test_a_link_of_a_folder_that_leads_nowhere_is_passed_over(place: Path) -> None:
    write_picture(place / "more" / "a.png", seed=9)
    (place / "more" / "gone.png").symlink_to("nowhere.png")
    result = predict("more", "--format", "csv", "--top", "1", status=1)
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == (
        "error: 1 of 2 pictures were passed over:\n  more/gone.png: no such file\n"
    )


def test_a_name_that_is_not_utf8_is_passed_over(place: Path) -> None:
    name = os.fsdecode(b"a\xff.png")
    write_picture(place / name, seed=1)
    told = "a\\udcff.png: the file name is not UTF-8; rename the file"
    assert predict(name, status=1).stderr == (
        f"error: 1 of 1 pictures were passed over:\n  {told}\n"
    )
    write_picture(place / "odd" / name, seed=1)
    write_picture(place / "odd" / "b.png", seed=2)
    result = predict("odd", "--format", "json", status=1)
    content = json.loads(result.stdout)
    assert [each["picture"] for each in content["pictures"]] == ["odd/b.png"]
    assert content["left_out"] == [{"picture": "a\\udcff.png", "reason": told}]


def test_where_nothing_can_be_read_that_is_said(place: Path) -> None:
    result = predict("bad.png", status=1)
    assert result.stderr.startswith("error: 1 of 1 pictures were passed over:\n  bad.png: ")
    assert not result.stdout


@pytest.mark.parametrize("name", ["out.csv", "out.json"])
def test_a_file_has_all_and_the_terminal_the_first(place: Path, name: str) -> None:
    for number in range(5, 8):
        write_picture(place / "more" / f"{number}.png", seed=number)
    result = predict("photos", "more", "--output", name, "--top", "1")
    assert "and 3 more pictures" in result.stdout and "more/7.png" not in result.stdout
    assert f"{name}: 8 pictures" in result.stderr
    text = (place / name).read_text()
    assert text == predict("photos", "more", "--format", name[4:], "--top", "1").stdout


def test_patterns_folders_and_files_are_each_taken_once(place: Path) -> None:
    (place / "photos2").mkdir()
    (place / "photos2" / "a.txt").write_text("no picture")
    write_picture(place / "photos2" / "b.png", seed=9)
    result = predict("phot*/*", "photos", "photos2/b.png", "--format", "csv", "--top", "1")
    assert len(result.stdout.splitlines()) == 1 + 6
    assert "phot*/*: left out: other suffixes or hidden: 1" in result.stderr


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(place: Path) -> None:
    result = predict("photos/picture [3].png", "--format", "csv", "--top", "1")
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize("branch", ["sa", "glca", "both"])
def test_a_prediction_is_the_models_own_whatever_the_batch(place: Path, branch: str) -> None:
    import torch

    from dcal import load_model
    from dcal.inference.recipe import build_transform
    from dcal.training.branches import compute_probabilities

    model = load_model("model.safetensors")
    transform = build_transform(model)
    image = transform(transform.load("photos/picture [4].png"))
    with torch.inference_mode():
        own = compute_probabilities(model(image[None]))[branch][0]
    for size in ("1", "2", "32"):
        said = predict("photos", "--format", "json", "--branch", branch, "--batch-size", size)
        last = json.loads(said.stdout)["pictures"][-1]["predictions"]
        told = {each["label"]: each["probability"] for each in last}
        assert [told[label] for label in range(3)] == pytest.approx(own.tolist(), abs=1e-6)
        assert last[0]["label"] == int(own.argmax())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["empty"], "error: empty: expected at least one picture ("),
        (["*.gif"], "error: *.gif: expected a pattern of pictures ("),
        (["photos", "--output", "a.txt"], "error: a.txt: expected a name that ends in .csv or"),
        (["photos", "--output", "no/a.csv"], "error: no/a.csv: expected the folder no to be"),
    ],
)
def test_a_mistake_is_one_sentence(place: Path, arguments: list[str], sentence: str) -> None:
    (place / "empty").mkdir()
    result = predict(*arguments, status=1)
    assert result.stderr.startswith(sentence) and len(result.stderr.splitlines()) == 1
    assert not result.stdout


def test_a_model_of_re_identification_predicts_no_class(place: Path) -> None:
    card = place / "model.json"
    content = json.loads(card.read_text())
    content["config"]["dataset"]["kind"] = "reid"
    card.unlink()
    card.write_text(json.dumps(content))
    assert "use dcal embed and dcal search" in predict("photos", status=1).stderr


def test_a_card_without_preprocessing_is_one_sentence(place: Path) -> None:
    card = write_model(place / "old" / "model.safetensors").with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"preprocessing": {}}))
    result = CliRunner().invoke(app, ["predict", "old/model.safetensors", "photos"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the model's card does not say how pictures are prepar")


def test_a_branch_that_the_model_lacks_is_refused(place: Path) -> None:
    for name in ("model.safetensors", "model.json"):
        (place / name).unlink()
    write_model(place / "model.safetensors", model={"glca_blocks": 0})
    said = predict("photos", "--branch", "glca", status=1).stderr
    assert said.startswith("error: branch: expected one of sa; got glca")
    assert json.loads(predict("photos", "--format", "json").stdout)["branch"] == "sa"
