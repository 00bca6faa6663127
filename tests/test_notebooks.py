"""Every notebook runs from top to bottom on the results of the smoke pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.project import Project

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_ends_with_its_answer(path: Path, finished: Project) -> None:
    source = f"notebooks/{path.name}"
    made = f"runs/{path.stem}.ipynb"
    finished.run("jupytext", "--to", "ipynb", "--run-path", "notebooks", "--output", made, source)
    notebook = json.loads((finished.folder / made).read_text(encoding="utf-8"))
    (finished.folder / made).unlink()
    said = "".join(
        line for output in notebook["cells"][-1]["outputs"] for line in output.get("text", [])
    )
    assert "blocks" in said
