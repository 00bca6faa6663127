"""The stages after training: evaluate, rollout, report, in one small project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dcal.data.datamodule import open_pictures
from dcal.models.weights import read_model_card
from dcal.tracking import read_run_record
from dcal.tracking.store import connect
from pipelines import evaluate, report, rollout
from tests.data.factory import write_folder
from tests.pipelines.scored import make_project, make_trained, write_params
from tests.visual.fixtures import make_config


def read_json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def leave_out_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the seconds that kernels take, where their pages are not looked at."""
    monkeypatch.setattr(report, "render_notebook_page", lambda inputs, name: "")


def list_artifacts(run_id: str, folder: str) -> set[str]:
    return {entry.path for entry in connect().list_artifacts(run_id, folder)}


def test_every_stage_leaves_its_files_and_adds_to_the_run_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_project(tmp_path, monkeypatch, is_tracked=True)
    evaluate.main()
    rollout.main()
    report.main()

    predictions = pd.read_parquet("runs/evaluate/predictions.parquet")
    table = open_pictures(config.dataset).select("test")
    assert predictions["path"].tolist() == table["path"].tolist() and len(predictions) == 20
    metrics = read_json("results/evaluate/metrics.json")
    for branch in ("sa", "glca", "both"):
        right = (predictions["label"] == predictions[f"{branch}_prediction"]).mean()
        assert metrics[f"test/{branch}/top1_accuracy"] == pytest.approx(right)
    confusion = pd.read_csv("results/evaluate/confusion.csv")
    assert confusion["count"].sum() == 20

    scores = read_json("results/rollout/metrics.json")
    assert scores["test/num_scored"] + scores["test/num_without_visible_parts"] == 20
    assert 0 < scores["test/sa/energy_share_chance"] < 0.5
    assert 0 <= scores["test/selection/parts_chosen"] <= 1
    assert not any(key.startswith("test/glca/") for key in scores)
    gallery = pd.read_csv("runs/rollout/index.csv", dtype={"name": str})
    assert gallery["name"].tolist() == ["00", "01", "02", "03"] and gallery["has_parts"].all()
    with Image.open("runs/rollout/panels/00_picture.webp") as image:
        assert image.size == (320, 320)

    html = Path("reports/report.html").read_text(encoding="utf-8")
    assert "they say nothing about photographs" in html and "data:image/webp" in html
    assert str(tmp_path) not in html
    page = Path("reports/02_rollout.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2 and "The largest share of the rollout lies" in page
    assert "paint_rollout" not in page and str(tmp_path) not in page
    page = Path("reports/01_tour_of_the_data.html").read_text(encoding="utf-8")
    assert page.count("<img") == 3 and "What could mislead: all pictures are drawn" in page
    assert "No description" not in page and str(tmp_path) not in page
    for name in ("03_pwca_as_regulariser", "05_ablations"):
        page = Path(f"reports/{name}.html").read_text(encoding="utf-8")
        assert "No grid of arms and seeds was trained here" in page and "make ablate" in page

    run = read_run_record("results/train/run.json")
    assert run.run_id is not None
    tracked = connect().get_run(run.run_id).data
    assert tracked.tags["mlflow.note.content"].startswith(
        f"top-1 accuracy {metrics['test/both/top1_accuracy']:.3f} on test by both (sa "
    )
    logged = tracked.metrics
    assert logged["test/both/ece"] == pytest.approx(metrics["test/both/ece"])
    assert logged["test/sa/energy_share"] == pytest.approx(scores["test/sa/energy_share"])
    assert list_artifacts(run.run_id, "figures") == {"figures/confusion.png"}
    expected = {"rollout/localization.csv", *(f"rollout/0{i}.png" for i in range(4))}
    assert list_artifacts(run.run_id, "rollout") == expected
    assert "overlays.png" in list_artifacts(run.run_id, "")


def test_the_picture_shown_is_the_picture_that_the_model_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_project(tmp_path, monkeypatch, rollout={"num_images": 1, "score_images": 3})
    evaluate.main()
    rollout.main()
    assert read_json("results/rollout/metrics.json")["test/num_scored"] <= 3
    path = pd.read_csv("runs/rollout/index.csv")["path"][0]
    with Image.open(open_pictures(config.dataset).root / path) as opened:
        original = np.asarray(opened.resize((320, 320), Image.Resampling.BICUBIC)).astype(int)
    with Image.open("runs/rollout/panels/00_picture.webp") as opened:
        shown = np.asarray(opened).astype(int)
    assert np.abs(original - shown).mean() < 6  # lossy, but no other picture and no tint


def test_a_model_that_selects_nothing_is_scored_at_the_compared_depth_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out_the_notebook(monkeypatch)
    make_project(tmp_path, monkeypatch, model={"readout": "class"})
    evaluate.main()
    rollout.main()
    report.main()
    scores = read_json("results/rollout/metrics.json")
    assert {key.split("/")[1] for key in scores if key.count("/") == 2} == {"sa"}
    assert set(pd.read_csv("results/rollout/localization.csv")["branch"]) == {"sa"}
    html = Path("reports/report.html").read_text(encoding="utf-8")
    assert "6 blocks, compared" in html and "selects for GLCA" not in html


def test_the_users_own_rectangular_photographs_without_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"train": {"a": 3, "b": 3}, "test": {"a": 2, "b": 2}}
    source = write_folder(tmp_path / "pictures", counts)
    make_project(
        tmp_path,
        monkeypatch,
        is_tracked=True,
        dataset={
            "name": "mine",
            "source_type": "folder",
            "source": str(source),
            "options": {},
            "remote": "private",
            "verify": "pixels",
            "allow_partial": False,
            "val_ratio": 0.0,
        },
        model={"image_size": [64, 32], "glca_blocks": 0, "pwca_blocks": 0, "readout": "class"},
        train={"selection": "last"},
    )
    evaluate.main()
    rollout.main()
    report.main()
    assert {key.split("/")[1] for key in read_json("results/evaluate/metrics.json")} == {"sa"}
    assert read_json("results/rollout/metrics.json") == {}
    assert pd.read_csv("results/rollout/localization.csv").empty
    gallery = pd.read_csv("runs/rollout/index.csv")
    assert gallery["choice_label"].str.startswith("nothing is chosen (GLCA off)").all()
    with Image.open("runs/rollout/panels/00_choice.webp") as image:
        assert image.size == (160, 320)
    html = Path("reports/report.html").read_text(encoding="utf-8")
    assert "<img" not in html and "none of its pictures is on this page" in html
    page = Path("reports/02_rollout.html").read_text(encoding="utf-8")
    assert page.count("<img") == 1 and "the maps stand without them" in page
    page = Path("reports/01_tour_of_the_data.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2 and "may not be passed on" in page
    leave_out_the_notebook(monkeypatch)
    own = [Path(f"own{number}.html") for number in ("", 1, 2)]
    report.write_pages(*own, asks_for_pictures=True)
    html = Path("own.html").read_text(encoding="utf-8")
    assert "<img" in html and "Do not pass this page on." in html
    run_id = read_run_record("results/train/run.json").run_id
    assert run_id is not None
    assert list_artifacts(run_id, "rollout") == {"rollout/localization.csv"}
    assert "overlays.png" not in list_artifacts(run_id, "")


def test_given_weights_are_scored_without_training_and_get_a_run_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"model": {"top_r": 0.45}, "train": {"epochs": 77}}
    config = make_project(tmp_path, monkeypatch, rollout={"score_images": 3}, **given)
    make_trained(config, path="elsewhere/given.safetensors")
    for path in ("runs/train", "results/train"):
        shutil.rmtree(path)
    evaluated = {"weights": "elsewhere/given.safetensors"}
    write_params(make_config(dataset=config.dataset.model_dump(), evaluate=evaluated))
    with pytest.raises(FileNotFoundError, match="run: python -m pipelines.evaluate$"):
        rollout.main()
    evaluate.main()
    evaluate.main()  # the same again, as after a kill, is the same run
    with pytest.raises(FileNotFoundError, match="csv: no such file; run: python -m pipelines.roll"):
        report.main()
    rollout.main()
    leave_out_the_notebook(monkeypatch)
    report.main()
    assert not Path("runs/train").exists() and not Path("results/train").exists()
    html = Path("reports/report.html").read_text(encoding="utf-8")
    assert "77 epochs" in html and "13 epochs" not in html
    client = connect()
    experiment = client.get_experiment_by_name("birds")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`dcal.kind` = 'evaluate'")
    assert len(runs) == 1
    assert "test/both/top1_accuracy" in runs[0].data.metrics
    params = runs[0].data.params
    assert (params["model.top_r"], params["train.epochs"]) == ("0.45", "77")
    assert params["evaluate.weights"] == "elsewhere/given.safetensors"
    assert runs[0].info.run_name.startswith("given.safetensors r0.45 seed0 ")


def test_a_model_is_scored_at_the_size_that_it_was_trained_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_project(tmp_path, monkeypatch, model={"image_size": [64, 32]})
    evaluate.main()
    expected = read_json("results/evaluate/metrics.json")
    write_params(make_config(dataset=config.dataset.model_dump(), model={"image_size": [32, 32]}))
    evaluate.main()
    assert read_json("results/evaluate/metrics.json") == expected


def test_a_model_of_other_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, monkeypatch)
    card = read_model_card("runs/train/model.safetensors")
    card["class_names"][2] = "something else"
    Path("runs/train/model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ValueError, match="class 2 is 'something else' there and '002_"):
        evaluate.main()
    assert not Path("results/evaluate").exists()


def test_a_missing_stage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path, monkeypatch)
    with pytest.raises(
        FileNotFoundError, match="predictions.parquet: no such file; run: dvc repro evaluate"
    ):
        rollout.main()
    with pytest.raises(FileNotFoundError, match="metrics.json: no such file; run: dvc repro eval"):
        report.main()
