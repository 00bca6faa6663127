"""The accuracy study scores both kinds of data set, with floors that mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import format_table, run_arm, summarise
from benchmarks.scores import compute_chance, score_plain_features
from dcal.config import Config
from dcal.data.datamodule import Pictures, open_pictures
from pipelines import fetch, prepare
from tests.pipelines.scored import VEHICLES, write_params
from tests.visual.fixtures import make_config


@pytest.fixture(scope="module")
def vehicles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Pictures]:
    """Return the config and the pictures of a few drawn vehicles."""
    folder = tmp_path_factory.mktemp("vehicles")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = make_config(dataset=VEHICLES, train={"images_per_identity": 2, "batch_size": 4})
        write_params(config)
        fetch.main()
        prepare.main()
        pictures = open_pictures(config.dataset)
    return config, Pictures(pictures.table, pictures.report, folder / pictures.root)


def test_a_reid_arm_is_scored_beside_its_floors(vehicles: tuple[Config, Pictures]) -> None:
    config, pictures = vehicles
    run = run_arm("sa_steps", config, pictures, seed=0, epochs=1)
    assert set(run["mean_ap"]) == set(run["cmc_1"]) == {"sa"}
    floors = score_plain_features(pictures, config)
    chance = compute_chance(pictures, config)
    assert set(floors) == set(chance) == {"mean_ap", "cmc_1"}
    assert set(floors["mean_ap"]) == {"hsv_histogram", "raw_pixels"}
    assert all(0 <= value <= 1 for of in floors.values() for value in of.values())
    record = {
        "dataset": "vehicles",
        "chance": chance,
        "neighbours": floors,
        "summary": summarise([run]),
    }
    assert f"mean_ap by chance {chance['mean_ap']:.3f}" in format_table(record)
    assert [row["metric"] for row in record["summary"]] == ["mean_ap", "cmc_1"]


def test_chance_counts_what_the_camera_rule_leaves(vehicles: tuple[Config, Pictures]) -> None:
    config, pictures = vehicles
    # Two cameras, two pictures of each: a query's own camera has one more of it, the other one.
    queries, gallery = pictures.select("query"), pictures.select("gallery")
    shares = []
    for _, query in queries.iterrows():
        is_same = gallery["identity"] == query["identity"]
        is_junk = is_same & (gallery["camera"] == query["camera"])
        shares.append((is_same & ~is_junk).sum() / (~is_junk).sum())
    assert compute_chance(pictures, config)["cmc_1"] == pytest.approx(np.mean(shares))


def test_committed_studies_have_the_form_that_is_written_now(repository: Path) -> None:
    for path in sorted((repository / "results/benchmarks").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "neighbours" in record:
            assert summarise(record["runs"]) == record["summary"], path
            assert set(record["chance"]) == set(record["neighbours"]), path
