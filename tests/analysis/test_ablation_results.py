"""Results of a grid as they are read, and what is said of them."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.ablation_results import (
    FILES,
    AblationError,
    count_compared,
    list_grids,
    measure_cost,
    read_ablation,
    read_ablations,
)
from dcal.analysis.ablation_texts import (
    describe,
    format_cost,
    format_p,
    format_table,
    list_settings,
    tell_differences,
    tell_other_scores,
    warn_of_other_data,
)
from dcal.analysis.ablations import summarise_scores
from tests.analysis.studies import simulate_scores

SEEDS = (0, 1, 2, 3, 4)
HEAD: dict[str, Any] = {
    "grid": "mine",
    "question": "Why?",
    "baseline": "dcal",
    "dataset": "birds",
    "kind": "fgvc",
    "is_drawn": True,
    "score": "top1_accuracy",
    "seeds": list(SEEDS),
    "num_epochs": 13,
    "selection": "val",
    "data_digest": "0123456789abcdef",
    "environment": {
        "git_commit": "f" * 40,
        "git_dirty": True,
        "device": "x86_64 CPU",
        "versions": {"torch": "2.14.1"},
    },
    "arms": {"dcal": {}, "sa_only": {"model.glca_blocks": 0, "model.pwca_blocks": 0}},
}


def write_grid(folder: Path, effect: float = 0.0, **head: Any) -> Path:
    """Write results of a baseline, which has GLCA, and an arm that differs by an effect."""
    scores = simulate_scores({"dcal": 0.0, "sa_only": effect}, seeds=SEEDS, own=0.003)
    both = scores[scores["arm"] == "dcal"].assign(branch="both")
    scores = pd.concat([scores, both], ignore_index=True)
    trainings = scores[scores["branch"] == "sa"][["arm", "seed"]].assign(
        epochs=13, steps=9, fingerprint="f", reason=np.nan
    )
    trainings["seconds"] = np.where(trainings["arm"] == "dcal", 10.0, 5.0) + trainings["seed"]
    curves = trainings[["arm", "seed"]].assign(epoch=0, metric="train/sa/loss", value=1.0)
    folder = folder / "mine"
    folder.mkdir(parents=True)
    tables = {
        "table": summarise_scores(scores, baseline="dcal"),
        "scores": scores,
        "trainings": trainings,
        "curves": curves,
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    content = {**HEAD, "num_done": 10, "num_planned": 10, **head}
    (folder / "grid.json").write_text(json.dumps(content))
    return folder


def test_a_null_grid_tells_no_difference(tmp_path: Path) -> None:
    same, other = tell_differences(read_ablation(write_grid(tmp_path)))
    assert same == "dcal by SA: no difference can be told: 0.0 (5 seeds)."
    assert re.match(r"sa_only by SA: no difference .*: \S+ \(\S+ to \S+, 5 seeds\)\.$", other)


@pytest.mark.parametrize(("effect", "word"), [(0.05, "higher"), (-0.05, "lower")])
def test_a_true_difference_is_told_with_its_sign(tmp_path: Path, effect: float, word: str) -> None:
    *_, line = tell_differences(read_ablation(write_grid(tmp_path, effect)))
    assert re.match(rf"sa_only by SA: {word} by [+-][45]\.\d \(", line)


def test_what_is_told_is_each_arm_once_and_the_baseline_by_its_other_branches(
    tmp_path: Path,
) -> None:
    folder = write_grid(tmp_path)
    scores = pd.read_csv(folder / "scores.csv")
    extra = scores[scores["branch"] == "both"].assign(branch="glca")
    of_arm = scores[scores["branch"] == "both"].assign(arm="sa_only")
    everything = pd.concat([scores, extra, of_arm], ignore_index=True)
    everything.to_csv(folder / "scores.csv", index=False)
    summarise_scores(everything, baseline="dcal").to_csv(folder / "table.csv", index=False)
    ablation = read_ablation(folder)
    told = [line.split(":")[0] for line in tell_differences(ablation)]
    assert told == ["dcal by SA", "dcal by GLCA", "sa_only by SA + GLCA"]
    rows = ablation.main_rows
    assert dict(zip(rows["arm"], rows["branch"], strict=True)) == {
        "dcal": "both",
        "sa_only": "both",
    }


def test_the_table_shows_every_branch_in_per_cent(tmp_path: Path) -> None:
    ablation = read_ablation(write_grid(tmp_path))
    shown = format_table(ablation)
    assert shown.index.tolist() == ["dcal, SA", "sa_only, SA", "dcal, SA + GLCA"]
    mean = ablation.scores.query("arm == 'sa_only'")["value"].mean()
    assert shown.loc["sa_only, SA", "mean"] == f"{100 * mean:.1f}"
    assert shown.loc["dcal, SA + GLCA", "less dcal"] == ""
    # Of the baseline's two equal branches one is compared with the other: p is 1.
    assert count_compared(ablation) == 2
    assert [format_p(p) for p in (math.nan, 0.5, 1e-5)] == ["", "0.500", "< 0.001"]


def test_the_caption_says_what_is_drawn_done_chosen_how_and_made_by_which_code(
    tmp_path: Path,
) -> None:
    said = describe(read_ablation(write_grid(tmp_path, num_done=7)))
    assert "drawn by a program" in said and "7 of 10 trainings" in said
    assert "of seeds 0, 1, 2, 3, 4;" in said and "Data set birds, 0123456789ab." in said
    assert f"commit {'f' * 12} with changes that were not committed, on x86_64 CPU" in said
    clean = {"git_commit": None, "git_dirty": None, "device": "one", "versions": {}}
    folder = write_grid(tmp_path / "b", is_drawn=False, selection="test", environment=clean)
    other = describe(read_ablation(folder))
    assert "drawn" not in other and "optimistic" in other and "a commit that is not known" in other


def test_trainings_that_failed_are_counted(tmp_path: Path) -> None:
    folder = write_grid(tmp_path)
    trainings = pd.read_csv(folder / "trainings.csv").astype({"reason": object})
    trainings.loc[0, "reason"] = "a loss that is no number"
    trainings.to_csv(folder / "trainings.csv", index=False)
    assert "1 training failed and has no score." in describe(read_ablation(folder))


def test_another_data_set_than_that_of_params_is_warned_of(tmp_path: Path) -> None:
    ablation = read_ablation(write_grid(tmp_path))
    assert warn_of_other_data(ablation, "birds") == ""
    said = warn_of_other_data(ablation, "wrens")
    assert "another data set, birds, than params.yaml, which has wrens" in said


def test_settings_of_each_arm_are_listed(tmp_path: Path) -> None:
    first, second = list_settings(read_ablation(write_grid(tmp_path)))
    assert first.startswith("dcal: the baseline")
    assert second == "sa_only: model.glca_blocks=0, model.pwca_blocks=0"


def test_time_is_compared_seed_by_seed(tmp_path: Path) -> None:
    cost = measure_cost(read_ablation(write_grid(tmp_path)))
    assert cost.index.tolist() == ["dcal", "sa_only"]
    assert cost["seconds"].tolist() == [12.0, 7.0]
    assert cost["ratio"].tolist() == pytest.approx([1.0, 7 / 12])
    shown = format_cost(cost, baseline="dcal")
    assert shown.loc["sa_only", "time over dcal's"] == "0.58"
    assert shown.loc["dcal", "by"] == "SA + GLCA"
    assert shown.loc["sa_only", "score, %"] == f"{100 * cost.loc['sa_only', 'mean']:.1f}"


def test_grids_are_listed_and_other_files_are_not(tmp_path: Path) -> None:
    folder = write_grid(tmp_path)
    (tmp_path / "README.md").touch()
    (tmp_path / "empty").mkdir()
    assert list_grids(tmp_path) == [folder]
    assert list_grids(tmp_path / "nothing") == []
    (folder / "grid.json").unlink()  # what is left of a grid is not passed over
    assert list_grids(tmp_path) == [folder]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_grid(tmp_path)
    (folder / name).unlink()
    with pytest.raises(AblationError, match=f"{name}: no such file; run: make ablate GRID=mine"):
        read_ablation(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("grid.json", "{", "not what make ablate writes"),
        ("grid.json", "{}", "grid.json has no key grid"),
        ("grid.json", "[]", "grid.json holds no keys"),
        ("trainings.csv", "arm,seed,epochs,seconds,fingerprint\nx,0,1,1,f\n", "has no arm x"),
        (
            "scores.csv",
            "arm,branch,metric,seed,value\na,sa,ece,0,much\n",
            "no numbers in column value",
        ),
        ("table.csv", "", "not what make ablate writes"),
        ("curves.csv", "arm,seed\n", "curves.csv has no column metric"),
        ("scores.csv", 'arm,"seed\n', "not what make ablate writes"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = write_grid(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(AblationError, match=message) as caught:
        read_ablation(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": 3}, "key environment of grid.json: expected dict"),
        ({"arms": ["dcal"]}, "key arms of grid.json: expected dict"),
        ({"seeds": 5}, "key seeds of grid.json: expected list"),
        ({"score": None}, "key score of grid.json: expected str"),
    ],
)
def test_a_key_of_another_kind_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(AblationError, match=message):
        read_ablation(write_grid(tmp_path, **change))


def test_a_table_of_other_scores_is_noticed(tmp_path: Path) -> None:
    folder = write_grid(tmp_path)
    scores = pd.read_csv(folder / "scores.csv")
    for damaged in (scores.iloc[:1], scores.assign(value=scores["value"] + 0.01)):
        damaged.to_csv(folder / "scores.csv", index=False)
        with pytest.raises(AblationError, match=r"table\.csv is not that of scores\.csv"):
            read_ablation(folder)


def test_a_grid_that_cannot_be_read_is_left_out_with_the_reason(tmp_path: Path) -> None:
    write_grid(tmp_path / "good")
    shutil.copytree(tmp_path / "good" / "mine", tmp_path / "good" / "damaged")
    (tmp_path / "good" / "damaged" / "curves.csv").unlink()
    grids, left_out = read_ablations(tmp_path / "good")
    assert [grid.head["grid"] for grid in grids] == ["mine"]
    assert list(left_out) == ["damaged"] and "curves.csv: no such file" in left_out["damaged"]


def test_a_score_that_does_not_count_and_differs_is_told_too(tmp_path: Path) -> None:
    folder = write_grid(tmp_path)
    scores = pd.read_csv(folder / "scores.csv")
    shift = np.where(scores["arm"] == "sa_only", 0.05, 0.0)
    noise = 0.001 * scores["seed"] * (scores["arm"] == "sa_only")
    ece = scores.assign(metric="ece", value=0.1 + shift + noise)
    both = pd.concat([scores, ece], ignore_index=True)
    both.to_csv(folder / "scores.csv", index=False)
    summarise_scores(both, baseline="dcal").to_csv(folder / "table.csv", index=False)
    said = tell_other_scores(read_ablation(folder))
    assert re.match(r"of the other scores \(ece\) ece of sa_only by SA \+0\.052 \(\+0\.05", said)
    ece = ece.assign(value=0.1 + noise * np.where(scores["seed"] % 2, 1, -1))
    both = pd.concat([scores, ece], ignore_index=True)
    both.to_csv(folder / "scores.csv", index=False)
    summarise_scores(both, baseline="dcal").to_csv(folder / "table.csv", index=False)
    said = tell_other_scores(read_ablation(folder))
    assert said == "of the other scores (ece) none differs."


def test_what_is_not_trained_yet_has_no_cost_and_no_difference(tmp_path: Path) -> None:
    folder = write_grid(tmp_path)
    for name in ("trainings", "scores"):
        table = pd.read_csv(folder / f"{name}.csv")
        table[table["arm"] == "sa_only"].to_csv(folder / f"{name}.csv", index=False)
    scores = pd.read_csv(folder / "scores.csv")
    summarise_scores(scores, baseline="dcal").to_csv(folder / "table.csv", index=False)
    ablation = read_ablation(folder)
    cost = measure_cost(ablation)
    assert cost.index.tolist() == ["sa_only"] and cost["ratio"].isna().all()
    said = "sa_only by SA: no seed in common with the baseline yet."
    assert tell_differences(ablation) == [said]
    assert format_table(ablation).loc["sa_only, SA", "less dcal"] == ""
    assert format_cost(cost, baseline="dcal").loc["sa_only", "time over dcal's"] == ""


def test_a_grid_of_which_every_training_failed_is_read_and_has_nothing_to_show(
    tmp_path: Path,
) -> None:
    folder = write_grid(tmp_path)
    for name in ("scores", "curves", "table"):
        pd.read_csv(folder / f"{name}.csv").iloc[:0].to_csv(folder / f"{name}.csv", index=False)
    trainings = pd.read_csv(folder / "trainings.csv").assign(seconds=0.0, reason="it failed")
    trainings.to_csv(folder / "trainings.csv", index=False)
    ablation = read_ablation(folder)
    told = [f"{arm}: no training has a score (it failed)." for arm in ("dcal", "sa_only")]
    assert tell_differences(ablation) == told and count_compared(ablation) == 0
    assert tell_other_scores(ablation) == ""
    assert format_table(ablation).empty and measure_cost(ablation).empty
    assert "10 trainings failed" in describe(ablation)
