"""Results of a grid as they are read, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcal.analysis.ablation_results import (
    FILES,
    AblationError,
    describe,
    format_table,
    list_grids,
    measure_cost,
    read_ablation,
    tell_differences,
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
    "pwca_blocks": 6,
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
    (line,) = tell_differences(read_ablation(write_grid(tmp_path)))
    assert line.startswith("sa_only: no difference can be told: ") and "5 seeds" in line


@pytest.mark.parametrize(("effect", "word"), [(0.05, "higher"), (-0.05, "lower")])
def test_a_true_difference_is_told_with_its_sign(tmp_path: Path, effect: float, word: str) -> None:
    (line,) = tell_differences(read_ablation(write_grid(tmp_path, effect)))
    assert line.startswith(f"sa_only: {word} by {100 * effect:+.0f}"[:-1])


def test_an_arm_stands_by_both_where_it_has_it_and_the_table_shows_all(tmp_path: Path) -> None:
    ablation = read_ablation(write_grid(tmp_path))
    rows = ablation.main_rows
    assert dict(zip(rows["arm"], rows["branch"], strict=True)) == {"dcal": "both", "sa_only": "sa"}
    shown = format_table(ablation)
    assert set(shown.index) == {("dcal", "sa"), ("sa_only", "sa"), ("dcal", "both")}
    mean = ablation.scores.query("arm == 'sa_only'")["value"].mean()
    assert shown.loc[("sa_only", "sa"), "mean"] == f"{100 * mean:.1f}"
    assert shown.loc[("dcal", "both"), "less dcal"] == ""


def test_the_caption_says_what_is_drawn_done_and_chosen_how(tmp_path: Path) -> None:
    said = describe(read_ablation(write_grid(tmp_path, num_done=7)))
    assert "drawn by a program" in said and "7 of 10 trainings" in said and "5 seeds" in said
    other = describe(read_ablation(write_grid(tmp_path / "b", is_drawn=False, selection="test")))
    assert "drawn" not in other and "optimistic" in other


def test_time_is_compared_seed_by_seed(tmp_path: Path) -> None:
    cost = measure_cost(read_ablation(write_grid(tmp_path)))
    assert cost.index.tolist() == ["dcal", "sa_only"]
    assert cost["seconds"].tolist() == [12.0, 7.0]
    assert cost["ratio"].tolist() == pytest.approx([1.0, 7 / 12])


def test_grids_are_listed_and_other_files_are_not(tmp_path: Path) -> None:
    folder = write_grid(tmp_path)
    (tmp_path / "README.md").touch()
    (tmp_path / "empty").mkdir()
    assert list_grids(tmp_path) == [folder]
    assert list_grids(tmp_path / "nothing") == []


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_grid(tmp_path)
    (folder / name).unlink()
    with pytest.raises(AblationError, match=f"{name}: no such file; run: make ablate"):
        read_ablation(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("grid.json", "{", "not what make ablate writes"),
        ("grid.json", "{}", "grid.json has no key baseline"),
        ("table.csv", "", "not what make ablate writes"),
        ("curves.csv", "arm,seed\n", "curves.csv has no column epoch"),
        ("scores.csv", 'arm,"seed\n', "not what make ablate writes"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = write_grid(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(AblationError, match=message) as caught:
        read_ablation(folder)
    assert "\n" not in str(caught.value)


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
    assert tell_differences(ablation) == ["sa_only: no seed in common with the baseline yet."]
    assert format_table(ablation).loc[("sa_only", "sa"), "less dcal"] == ""
