"""Every notebook runs from top to bottom on the results of the smoke pipeline."""

from __future__ import annotations

from pathlib import Path

import jupytext
import pytest

from pipelines.notebook import run_notebook
from tests.project import Project

# What each says in its answer, and which pipeline it is of.
ANSWERS = {
    "02_rollout": ("finished", ("of 6 blocks", "12 test pictures")),
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
