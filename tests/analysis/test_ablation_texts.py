"""The answer of a notebook of grids, where there are some and where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcal.analysis.ablation_results import read_ablation, read_ablations
from dcal.analysis.ablation_texts import format_runs, tell_grids, tell_runs, tell_settings
from dcal.analysis.regularisation import measure_loss_weights, read_pwca_grids, select_loss_weights
from dcal.analysis.regularisation_texts import tell_pwca
from tests.analysis.studies import simulate_curves
from tests.analysis.test_ablation_results import write_grid


def test_the_answer_has_a_line_a_row_of_each_grid(tmp_path: Path) -> None:
    write_grid(tmp_path, effect=0.05)
    grids, left_out = read_ablations(tmp_path)
    head, _, *lines = tell_grids(grids, left_out, str(tmp_path)).split("\n")
    assert head == "Points of the score that counts, less the baseline:"
    assert [line.split(":")[0] for line in lines] == [
        "- mine, dcal by SA",
        "- mine, sa_only by SA",
    ]


@pytest.mark.parametrize(("is_there", "found"), [(True, "none"), (False, "no such folder")])
def test_an_empty_folder_of_grids_is_one_sentence(
    is_there: bool, found: str, tmp_path: Path
) -> None:
    root = tmp_path / "empty"
    if is_there:
        root.mkdir()
    assert tell_grids(*read_ablations(root), str(root)) == (
        f"No grid was run here: expected folders of grids in {root}, found {found}; run "
        "`make ablate`, or set root to a folder that has some."
    )
    grids, _ = read_pwca_grids(root)
    assert tell_pwca(grids, {}, root) == (
        f"Nothing to compare yet: expected a grid in {root} with arms that differ by PWCA alone, "
        f"found {found}; run `make ablate`, or set root to a folder that has one."
    )


def test_grids_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    (write_grid(tmp_path) / "curves.csv").unlink()
    said = tell_grids(*read_ablations(tmp_path), "here")
    assert said == (
        "No grid to compare: expected one in here that can be read, found 1 that cannot, for the "
        "reasons above."
    )


def test_the_answer_on_pwca_has_what_can_be_said_of_each_pair(tmp_path: Path) -> None:
    arms = {"dcal": {}, "no_pwca": {"model.pwca_blocks": 0}, "sa_only": {"train.epochs": 9}}
    folder = write_grid(tmp_path, arms=arms)
    simulate_curves(gain=0.15, noise=1e-3).to_csv(folder / "curves.csv", index=False)
    (grid,), _ = read_pwca_grids(tmp_path)
    factors = measure_loss_weights(select_loss_weights(grid.ablation.curves, grid.arms))
    lines = tell_pwca([grid], {"mine": factors}, tmp_path).split("\n")
    assert len(lines) == 4 and all(line.startswith("- mine, dcal ") for line in lines[:3])
    assert "PWCA regularises" in lines[0] and "the loss of PWCA counts" in lines[3]


def test_settings_are_a_list_of_code(tmp_path: Path) -> None:
    lines = tell_settings(read_ablation(write_grid(tmp_path))).split("\n")
    assert lines[0] == "- `dcal: the baseline, as params.yaml was then`"
    assert len(lines) == 2


def test_runs_are_listed_by_arm_and_seed_where_mlflow_has_them(tmp_path: Path) -> None:
    grid = read_ablation(write_grid(tmp_path))
    trainings = grid.trainings.assign(
        fingerprint=[f"{arm}{seed}" for arm, seed in grid.trainings[["arm", "seed"]].to_numpy()]
    )
    grid = grid._replace(trainings=trainings)
    runs = {"sa_only1": "0123456789abcdef", "dcal0": "f" * 32, "another": "e" * 32}
    assert tell_runs(grid, runs) == (
        "mine: 2 of 10 trainings are in the MLflow of this place, each below the run of the grid "
        "that asked for it first."
    )
    table = format_runs(grid, runs)
    assert table.loc["sa_only"].to_dict() == {0: "", 1: "01234567"}
    assert table.index.tolist() == ["dcal", "sa_only"]
    assert tell_runs(grid, {}) == "mine: 0 of 10 trainings are in the MLflow of this place."
    assert format_runs(grid, {}).empty
