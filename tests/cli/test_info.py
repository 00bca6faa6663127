"""`dcal info`, as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dcal.cli.app import app
from tests.inference.model_files import write_model
from tests.project import ROOT


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of one's own that holds the default params.yaml and no data."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path))
    return tmp_path


def read_seconds(text: str) -> float:
    """Return the seconds of a duration as `dcal info` writes it, such as 12 min."""
    number, unit = re.search(r"([\d.]+) (ms|s|min|h)\b", text).groups()
    return float(number) * {"ms": 1e-3, "s": 1, "min": 60, "h": 3600}[unit]


def run(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["info", *arguments])
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def test_a_config_is_described_in_a_line() -> None:
    said = run().stdout
    assert said == (
        "model  dcal_pico, 64 x 64 pixels: SA + GLCA x1 (class_local, top_r 0.3) + PWCA x6\n"
    )


def test_changes_are_seen_and_branches_that_are_off_are_not_named() -> None:
    assert run("--set", "model.glca_blocks=0", "--set", "model.pwca_blocks=0").stdout.endswith(
        ": SA\n"
    )
    assert "GLCA x1 (class)" in run("--set", "model.readout=class").stdout


def test_costs_name_time_memory_and_what_takes_it() -> None:
    said = run("--cost", "--set", "train.batch_size=4", "--set", "train.devices=cpu").stdout
    assert re.search(r"^model +dcal_pico, .*, 1\.\d M parameters$", said, re.M)
    assert re.search(r"^machine .* CPU, fp32, \d+ threads$", said, re.M)
    line = r" +\d.* for 4 pictures \(.* a second\), \d\.\d\d x SA alone; 0\.\d\d GiB beside"
    assert re.search("^training step" + line, said, re.M)
    assert re.search("^inference" + line, said, re.M)
    assert all(float(ratio) > 1 for ratio in re.findall(r"([\d.]+) x SA alone", said))
    assert said.count("of it: linear layers and other products ") == 2
    # Nothing is prepared, and drawn birds have no official numbers.
    assert "epochs of" not in said


def test_an_official_sets_training_is_predicted_without_its_pictures() -> None:
    said = run(
        *("--cost", "--set", "train.devices=cpu", "--set", "dataset.name=cub"),
        *("--set", "dataset.source_type=cub"),
    ).stdout
    step = re.search(r"^training step +(.*) for ", said, re.M)
    whole = re.search(r"^training +13 epochs of 5,994 pictures, 2,431 steps: (.*)", said, re.M)
    assert read_seconds(whole[1]) == pytest.approx(2431 * read_seconds(step[1]), rel=0.3)


def test_sa_alone_costs_once_what_sa_alone_costs() -> None:
    said = run(
        *("--cost", "--set", "train.batch_size=1", "--set", "train.devices=cpu"),
        *("--set", "model.glca_blocks=0", "--set", "model.pwca_blocks=0"),
    ).stdout
    assert re.findall(r"([\d.]+) x SA alone", said) == ["1.00", "1.00"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing.yaml"], "nothing.yaml: no such file"),
        (["--set", "model.top_r=7"], "params.yaml: model.top_r: should be less than or equal to 1"),
        (["--cost", "--set", "model.backbone=nosuch"], "no model is called nosuch"),
        (["--cost", "--set", "model.image_size=[65, 64]"], "expected multiples of the patch size"),
        (["--cost", "--set", "model.glca_blocks=6"], "model.glca_blocks: expected 0 to 5"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], message: str) -> None:
    result = run(*arguments, status=1)
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1 and not result.stdout


def test_a_model_is_described_by_its_card(place: Path) -> None:
    write_model(place / "own" / "model.safetensors")
    lines = dict(
        line.split(maxsplit=1) for line in run("own/model.safetensors").stdout.splitlines()
    )
    assert lines["file"].startswith("own/model.safetensors, ")
    assert lines["file"].endswith(" M parameters")
    assert lines["data"].endswith(": 3 classes (one, two, three)")
    assert lines["pictures"].startswith("bicubic to ")
    assert "SA + GLCA" in lines["model"]


def test_epochs_are_counted_from_one_as_on_the_report(place: Path) -> None:
    path = write_model(place / "model.safetensors", train={"epochs": 13}).with_suffix(".json")
    card = json.loads(path.read_text())
    card |= {"selected_epoch": 11, "selection": "val", "weights": "raw"}
    path.write_text(json.dumps(card))
    said = run("model.safetensors").stdout
    assert "trained   epoch 12 of 13, chosen by held-out pictures; raw weights, seed 0\n" in said


def test_a_registered_models_run_tells_its_scores(place: Path) -> None:
    from dcal.tracking.models import describe_model_file
    from dcal.tracking.store import connect, find_experiment

    path = write_model(place / "runs" / "train" / "model.safetensors")
    client = connect()
    created = client.create_run(
        find_experiment(client, "birds"),
        tags=describe_model_file(path.relative_to(place)),
    )
    client.log_metric(created.info.run_id, "test/both/top1_accuracy", 0.75)
    client.log_metric(created.info.run_id, "val/both/top1_accuracy", 0.5)
    said = run(created.info.run_id).stdout
    assert f"run       {created.info.run_id}\n" in said
    assert "scores    test/both/top1_accuracy 0.7500\n" in said and "val/" not in said


def test_a_trained_models_settings_are_not_changed(place: Path) -> None:
    write_model(place / "model.safetensors")
    said = run("model.safetensors", "--set", "model.top_r=0.2", status=1).stderr
    assert said.startswith("error: --set: model.safetensors is a trained model")


def test_gathered_batches_held_out_pictures_and_random_patches_are_told() -> None:
    changes = ("dataset.name=cub", "dataset.source_type=cub", "dataset.val_ratio=0.5")
    changes += ("train.epochs=2", "train.batch_size=10", "train.accumulate_steps=3")
    changes += ("model.patch_selection=random", "train.devices=cpu")
    options = [each for change in changes for each in ("--set", change)]
    said = run("--cost", *options).stdout
    assert "2 epochs of 2,997 pictures, 199 steps of 3 batches: " in said
    assert "top_r 0.3, patches at random" in said
