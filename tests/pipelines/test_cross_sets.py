"""A model is ranked on other sets than its own, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from dcal.config import load_config
from dcal.data.datamodule import open_prepared
from dcal.data.dataset import Sides
from dcal.inference.features import read_features
from dcal.inference.scoring import build_scoring_loader, find_known_sides, open_scoring
from dcal.tracking import read_run_record
from dcal.tracking.store import connect
from pipelines import cross_sets, evaluate, fetch, prepare
from tests.pipelines.scored import BIRDS, PARAMS, VEHICLES, make_project, write_params
from tests.visual.fixtures import make_config

OTHERS = {
    **VEHICLES,
    "name": "others",
    "options": {**VEHICLES["options"], "seed": 5, "test_identities": 4},
}


def prepare_set(dataset: dict) -> None:
    """Prepare a further set, and leave params.yaml as it was."""
    kept = Path("params.yaml").read_text(encoding="utf-8")
    write_params(make_config(dataset=dataset))
    fetch.main()
    prepare.main()
    Path("params.yaml").write_text(kept, encoding="utf-8")


def test_every_named_set_is_scored_and_added_to_the_run_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, monkeypatch, dataset=VEHICLES, is_tracked=True)
    evaluate.main()
    own = json.loads(Path("results/evaluate/metrics.json").read_text())
    prepare_set(OTHERS)
    cross_sets.main(["others", "vehicles", "others"])
    found = json.loads(Path("results/cross_sets/metrics.json").read_text())
    assert found["test/vehicles/both/mean_ap"] == own["test/both/mean_ap"]
    assert (found["test/others/num_queries"], found["test/vehicles/num_queries"]) == (8, 6)
    table = pd.read_csv("results/cross_sets/scores.csv").set_index(["dataset", "branch"])
    assert list(table.index) == [
        (name, branch) for name in ("others", "vehicles") for branch in ("sa", "glca", "both")
    ]
    assert table.loc[("others", "sa"), "cmc_1"] == found["test/others/sa/cmc_1"]
    described = json.loads(Path("results/cross_sets/run.json").read_text())
    assert described["trained_on"] == "vehicles" and len(described["data_digests"]) == 2
    assert len(read_features("runs/cross_sets/others/features.safetensors").table) == 16
    run_id = read_run_record("results/train/run.json").run_id
    assert run_id is not None
    logged = connect().get_run(run_id).data.metrics
    assert logged["test/others/both/mean_ap"] == found["test/others/both/mean_ap"]
    assert logged["test/both/mean_ap"] == own["test/both/mean_ap"]


def test_cameras_of_another_set_are_unknown_to_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = {"side_information": "camera_view"}
    make_project(tmp_path, monkeypatch, dataset=VEHICLES, model=model)
    # One more camera than the model has vectors for.
    prepare_set({**OTHERS, "options": {**OTHERS["options"], "cameras": 3}})
    scoring = open_scoring(load_config("params.yaml"))
    assert scoring.model.side is not None
    assert find_known_sides(scoring) == Sides(cameras=(1, 2), views=(0, 1))
    other = scoring._replace(pictures=open_prepared("others"))
    batch = next(iter(build_scoring_loader(other, "test")))
    assert set(batch["camera"].tolist()) == set(batch["view"].tolist()) == {-1}
    assert "those of others are unknown to it" in caplog.text
    monkeypatch.setattr(cross_sets, "track", lambda metrics, scoring: None)
    assert cross_sets.score_sets(["others"])["test/others/num_queries"] == 12


def test_a_set_that_ranks_nothing_stops_before_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, monkeypatch, dataset=VEHICLES)
    prepare_set(OTHERS)
    path = Path("data/index/others/index.parquet")
    table = pd.read_parquet(path)
    table["camera"] = pd.array([1] * len(table), dtype="Int64")
    table.to_parquet(path, index=False)
    with pytest.raises(ValueError, match="others: no query has a match to be found"):
        cross_sets.main(["vehicles", "others"])
    with pytest.raises(FileNotFoundError, match="data set ../index: expected one"):
        cross_sets.main(["../index"])
    assert not Path("results/cross_sets").exists()


def test_a_set_that_cannot_be_ranked_stops_before_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, monkeypatch, dataset=VEHICLES)
    with pytest.raises(FileNotFoundError, match=r"market: .* prepared here \(vehicles\)"):
        cross_sets.main(["vehicles", "market"])
    prepare_set({**PARAMS["dataset"], **BIRDS})
    with pytest.raises(ValueError, match="birds: expected one of identities"):
        cross_sets.main(["vehicles", "birds"])
    assert not Path("results/cross_sets").exists()


def test_a_model_of_classes_ranks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="expected a Re-ID data set"):
        cross_sets.main(["birds"])
