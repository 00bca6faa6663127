"""Every notebook runs from top to bottom on the results of the smoke pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import jupytext
import pytest

from pipelines.notebook import run_notebook
from tests.analysis.test_ablation_results import write_grid
from tests.analysis.test_regularisation import simulate
from tests.project import ROOT, Project

# What each says in its answer, and which pipeline it is of.
ANSWERS = {
    "02_rollout": ("finished", ("of 6 blocks", "12 test pictures")),
    # Of grids, of which a fresh clone has none; with one below.
    "03_pwca_as_regulariser": ("finished", ("Nothing to compare", "make ablate")),
    "05_ablations": ("finished", ("No grid was run here", "make ablate")),
    "04_ranking_and_errors": ("finished_reid", ("queries have a wrong picture first", "camera")),
}
NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_can_be_told_where_the_project_lies_and_to_show_no_pictures(path: Path) -> None:
    cells = jupytext.read(path).cells
    (cell,) = [entry for entry in cells if "parameters" in entry.metadata.get("tags", [])]
    assert {"project", "show_pictures"} <= {line.split(" =")[0] for line in cell.source.split("\n")}
    assert cells[0].source.startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_ends_with_its_answer(
    path: Path, request: pytest.FixtureRequest
) -> None:
    pipeline, expected = ANSWERS[path.stem]
    project: Project = request.getfixturevalue(pipeline)
    notebook = run_notebook(path, {"project": str(project.folder)})
    said = notebook.cells[-1].outputs[-1].data["text/markdown"]
    assert all(words in said for words in expected)


@pytest.mark.slow
def test_the_notebooks_of_grids_tell_what_a_simulated_grid_has(tmp_path: Path) -> None:
    arms = {"dcal": {}, "no_pwca": {"model.pwca_blocks": 0}, "sa_only": {"model.top_r": 0.1}}
    folder = write_grid(tmp_path / "results/ablate", effect=-0.05, arms=arms)
    simulate(gain=0.1, noise=1e-3).to_csv(folder / "curves.csv", index=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    said = {}
    for name in ("03_pwca_as_regulariser", "05_ablations"):
        notebook = run_notebook(ROOT / f"notebooks/{name}.py", {"project": str(tmp_path)})
        said[name] = notebook.cells[-1].outputs[-1].data["text/markdown"]
    assert "at equal training loss is lower" in said["03_pwca_as_regulariser"]
    assert "mine, sa_only: lower by -" in said["05_ablations"]
