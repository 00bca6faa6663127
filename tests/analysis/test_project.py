"""A notebook goes into its project's folder, as often as its cell is run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcal.analysis import project
from dcal.config import ConfigError
from tests.project import ROOT


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a project, in whose notebooks the process is as if it began there."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path / "notebooks")
    project._find_start.cache_clear()
    yield tmp_path
    project._find_start.cache_clear()


def test_a_cell_that_runs_again_goes_to_the_same_folder(start: Path) -> None:
    for _ in range(2):
        assert project.open_project("..").dataset.name
        assert Path.cwd() == start


@pytest.mark.parametrize(
    ("folder", "found"), [("gone", "no such folder"), (".", r"no params\.yaml in it")]
)
def test_another_folder_is_one_sentence(start: Path, folder: str, found: str) -> None:
    message = (
        rf"^project='{folder}': expected the folder of params\.yaml, found {found}; set project "
        r"to that folder, or make params\.yaml there: python -m pipelines\.compose$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        project.open_project(folder)
    assert Path.cwd() == start / "notebooks"


def test_wrong_settings_are_refused_as_everywhere(start: Path) -> None:
    (start / "params.yaml").write_text("sed: 1\n")
    with pytest.raises(ConfigError, match="sed"):
        project.open_project("..")
