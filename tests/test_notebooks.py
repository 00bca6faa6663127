"""Every notebook runs from top to bottom on the results of the smoke pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import jupytext
import pytest

from pipelines.notebook import render_body, run_notebook
from tests.analysis.studies import simulate_curves
from tests.analysis.test_ablation_results import write_grid
from tests.project import ROOT, Project

# What each says in its answer, and which pipeline it is of.
ANSWERS = {
    "01_tour_of_the_data": ("finished", ("52 pictures of 4 classes", "drawn by a program")),
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


@pytest.fixture
def grids(tmp_path: Path) -> Path:
    """Return a project of one simulated grid and nothing else."""
    arms = {"dcal": {}, "no_pwca": {"model.pwca_blocks": 0}, "sa_only": {"model.top_r": 0.1}}
    folder = write_grid(tmp_path / "results/ablate", effect=-0.05, arms=arms)
    simulate_curves(gain=0.15, noise=1e-3).to_csv(folder / "curves.csv", index=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "answer", "num_pictures"),
    [
        ("03_pwca_as_regulariser", ("PWCA regularises", "PWCA counts", "in the epochs"), 4),
        ("05_ablations", ("mine, sa_only by SA: lower by -", "dcal by SA: no difference"), 3),
    ],
)
def test_a_notebook_of_grids_tells_what_a_simulated_grid_has(
    name: str, answer: tuple[str, ...], num_pictures: int, grids: Path
) -> None:
    notebook = run_notebook(ROOT / f"notebooks/{name}.py", {"project": str(grids)})
    said = notebook.cells[-1].outputs[-1].data["text/markdown"]
    assert [words for words in answer if words not in said] == []
    page = render_body(notebook)
    assert "drawn by a program" in page and "0123456789ab" in page
    assert page.count("<img") == num_pictures and "No description" not in page
