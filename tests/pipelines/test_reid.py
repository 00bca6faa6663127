"""Every stage on a Re-ID data set: drawn vehicles, few and small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from dcal.config import Config
from dcal.inference.features import read_features
from dcal.metrics.ranking import evaluate_ranking
from dcal.models import load_model
from dcal.tracking import read_run_record
from dcal.tracking.store import connect
from dcal.tuning.scores import list_scores
from pipelines import evaluate, fetch, prepare, report, rollout, summary, train
from tests.pipelines.scored import VEHICLES, make_project, write_params
from tests.pipelines.test_evaluate_rollout_report import leave_out_the_notebook, list_artifacts
from tests.visual.fixtures import make_config


def read_json(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def make_vehicles(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    options: dict[str, Any] | None = None,
    **changes,
) -> Config:
    dataset = {**VEHICLES, "options": {**VEHICLES["options"], **(options or {})}}
    dataset |= changes.pop("dataset", {})
    return make_project(folder, monkeypatch, dataset=dataset, **changes)


def leave_one_camera() -> None:
    """Say of every picture of the index that one camera took it."""
    path = Path("data/index/vehicles/index.parquet")
    table = pd.read_parquet(path)
    table["camera"] = pd.array([1] * len(table), dtype="Int64")
    table.to_parquet(path, index=False)


def test_every_stage_leaves_its_files_and_adds_to_the_run_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_vehicles(tmp_path, monkeypatch, is_tracked=True, rollout={"num_images": 12})
    evaluate.main()
    rollout.main()
    report.main()
    metrics = read_json("results/evaluate/metrics.json")
    assert (metrics["test/num_queries"], metrics["test/num_gallery"]) == (6, 6)
    features = read_features("runs/evaluate/features.safetensors")
    assert list(features.embeddings) == ["sa", "glca", "both"]
    queries, gallery = (features.select(split, "both") for split in ("query", "gallery"))
    expected = evaluate_ranking(
        query_features=queries[1],
        gallery_features=gallery[1],
        query_identities=queries[0]["identity"].to_numpy(dtype=int),
        gallery_identities=gallery[0]["identity"].to_numpy(dtype=int),
        query_cameras=queries[0]["camera"].to_numpy(dtype=int),
        gallery_cameras=gallery[0]["camera"].to_numpy(dtype=int),
    )
    assert metrics["test/both/mean_ap"] == pytest.approx(expected.mean_ap)
    assert metrics["test/both/cmc_1"] == expected.cmc[0]
    scored = pd.read_parquet("runs/evaluate/predictions.parquet")
    np.testing.assert_allclose(scored["both_average_precision"], expected.average_precisions)
    assert pd.read_csv("results/evaluate/per_class.csv")["num_queries"].tolist() == [2, 2, 2]
    lists = pd.read_csv("runs/evaluate/ranked_lists.csv")
    is_own_camera = (lists["query_identity"] == lists["identity"]) & (
        lists["query_camera"] == lists["camera"]
    )
    assert len(lists) == 30 and not is_own_camera.any()  # 6 less the one of the own camera
    assert pd.read_csv("runs/rollout/index.csv")["name"].tolist() == ["queries", "worst", "looking"]
    with Image.open("runs/rollout/worst.png") as image:
        assert image.width > image.height
    scores = read_json("results/rollout/metrics.json")
    assert 0 < scores["test/sa/energy_share_chance"] < 0.5

    html = Path("reports/report.html").read_text(encoding="utf-8")
    assert "<b>mean AP</b>" in html and html.count("data:image/webp") == 3
    assert "they say nothing about photographs" in html and str(tmp_path) not in html
    assert "on the parts" in Path("reports/02_rollout.html").read_text(encoding="utf-8")
    page = Path("reports/01_tour_of_the_data.html").read_text(encoding="utf-8")
    assert page.count("<img") == 4 and "a gallery in random order is expected to score" in page
    summary.main()
    assert "mAP" in capsys.readouterr().out
    run = read_run_record("results/train/run.json")
    assert run.run_id is not None
    logged = connect().get_run(run.run_id).data.metrics
    assert logged["test/both/mean_ap"] == pytest.approx(metrics["test/both/mean_ap"])
    assert list_artifacts(run.run_id, "figures") == {"figures/cmc.png"}
    assert {"evaluate/ranked_lists.csv", "evaluate/per_class.csv"} <= list_artifacts(
        run.run_id, "evaluate"
    )


def test_the_other_ways_to_score_stand_beside_or_in_the_place_that_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"test_identities": 6}
    make_vehicles(tmp_path, monkeypatch, options=options)
    evaluate.main()
    plain = read_json("results/evaluate/metrics.json")
    changes = {"rerank": True, "flip": True, "average_precision": "trapezoid"}
    config = make_vehicles(tmp_path, monkeypatch, options=options, evaluate=changes)
    evaluate.main()
    found = read_json("results/evaluate/metrics.json")
    assert set(found) - set(plain) == {
        f"test/{branch}/reranked_{name}"
        for branch in ("sa", "glca", "both")
        for name in ("mean_ap", "mean_inp", "cmc_1", "cmc_5", "cmc_10")
    }
    assert found["test/both/mean_ap"] != plain["test/both/mean_ap"]
    assert read_features("runs/evaluate/features.safetensors").recipe.flip
    rollout.main()
    leave_out_the_notebook(monkeypatch)
    report.main()
    html = Path("reports/report.html").read_text(encoding="utf-8")
    assert 'SA + GLCA<span class="range">re-ranked' in html and "by the trapezoid rule" in html
    assert config.evaluate.rerank


def test_a_set_too_small_to_be_reranked_keeps_its_plain_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_vehicles(tmp_path, monkeypatch, evaluate={"rerank": True})
    evaluate.main()
    found = read_json("results/evaluate/metrics.json")
    assert "test/both/mean_ap" in found and "test/both/reranked_mean_ap" not in found
    assert "more than 20 pictures to re-rank; there are 12" in caplog.text


def test_a_private_set_shows_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_vehicles(tmp_path, monkeypatch, dataset={"remote": "private"})
    leave_out_the_notebook(monkeypatch)
    for stage in (evaluate, rollout, report):
        stage.main()
    html = Path("reports/report.html").read_text(encoding="utf-8")
    assert "data:image" not in html and "its pictures are not shown" in html


def test_where_no_query_has_a_match_the_stage_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_vehicles(tmp_path, monkeypatch)
    leave_one_camera()
    with pytest.raises(ValueError, match="6 of 6 queries have no match .* own camera only; so"):
        evaluate.main()
    assert not Path("results/evaluate/metrics.json").exists()


def test_a_model_that_diverged_is_told_by_the_first_picture_it_spoils(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_vehicles(tmp_path, monkeypatch)
    path = "runs/train/model.safetensors"
    with safe_open(path, framework="pt") as stream:
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}
        metadata = stream.metadata()
    name = "backbone.norm.weight"
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"branch sa: .* are NaN or infinite: .*\.png"):
        evaluate.main()
    assert not Path("results/evaluate/metrics.json").exists()


def test_a_model_is_scored_on_another_set_of_other_identities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_vehicles(tmp_path, monkeypatch)
    Path("runs/train/model.safetensors").rename("given.safetensors")
    Path("runs/train/model.json").rename("given.json")
    dataset = {**VEHICLES, "name": "others", "options": {**VEHICLES["options"], "seed": 5}}
    dataset["options"]["train_identities"] = 6
    write_params(make_config(dataset=dataset, evaluate={"weights": "given.safetensors"}))
    fetch.main()
    prepare.main()
    evaluate.main()
    assert read_json("results/evaluate/metrics.json")["test/num_queries"] == 6


TRAIN = {
    "epochs": 2,
    "warmup_epochs": 0.0,
    "batch_size": 8,
    "images_per_identity": 2,
    "log_every": 1,
    "devices": "cpu",
}


def test_training_takes_identities_triplets_and_cameras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_vehicles(
        tmp_path,
        monkeypatch,
        train=TRAIN,
        loss={"triplet": "soft", "label_smoothing": 0.1},
        model={"neck": "bnneck", "side_information": "camera"},
        transforms={"train_crop": "pad", "pad": 4, "erase_ratio": 0.5},
    )
    train.main()
    history = pd.read_csv("results/train/history.csv")
    assert history["val/both/mean_ap"].notna().sum() == 2
    assert {key for key in history if key.startswith("val/")} == set(list_scores("reid"))
    assert "selection_score" in read_json("results/train/metrics.json")
    model = load_model("runs/train/model.safetensors")
    assert model.card["sides"] == {"cameras": [1, 2], "views": [0, 1]}
    assert model.side is not None
    images = torch.zeros(2, 3, 64, 64)
    known = model(images, cameras=torch.tensor([0, 1])).sa_features
    assert not torch.equal(known[0], known[1])
    evaluate.main()
    assert 0 < read_json("results/evaluate/metrics.json")["test/both/mean_ap"] <= 1


@pytest.mark.parametrize("selection", ["val", "test"])
def test_an_epoch_cannot_be_chosen_by_a_split_that_ranks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selection: str
) -> None:
    make_vehicles(tmp_path, monkeypatch, train={**TRAIN, "selection": selection})
    leave_one_camera()
    with pytest.raises(ValueError, match=f"train.selection={selection}: no picture of that split"):
        train.main()
