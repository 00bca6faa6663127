from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from dcal.config import load_config
from pipelines import fetch, watch
from pipelines.compose import write_params
from tests.data.factory import write_tar


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """Return the user's folder after its fetch stage; the current directory is a project."""
    folder = tmp_path / "pictures"
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (folder / place).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / place / "0.png")
    (tmp_path / "project" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    arguments = ["dataset=folder", f"dataset.source={folder}", "dataset.name=mine"]
    write_params(arguments, Path("params.yaml"), repository / "experiments")
    fetch.main()
    return folder


def is_changed() -> bool:
    return watch.has_changed(load_config("params.yaml").dataset)


def test_an_unchanged_folder_is_not_fetched_again(fetched: Path) -> None:
    assert not is_changed()
    watch.main()


@pytest.mark.parametrize("change", ["add", "remove", "replace"])
def test_a_changed_folder_is_noticed(change: str, fetched: Path) -> None:
    if change == "add":
        Image.new("RGB", (8, 8)).save(fetched / "train" / "a" / "1.png")
    elif change == "remove":
        (fetched / "train" / "a" / "0.png").unlink()
    else:
        Image.effect_noise((32, 32), 50).save(fetched / "train" / "a" / "0.png")
    assert is_changed()


def test_a_changed_folder_is_fetched_again_by_force(
    fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fetched / "train" / "a" / "0.png").unlink()
    monkeypatch.setattr(watch, "FETCH_AGAIN", ("python3", "-c", "raise SystemExit(7)"))
    with pytest.raises(SystemExit) as stopped:
        watch.main()
    assert stopped.value.code == 7


def test_a_folder_that_is_gone_is_one_sentence(fetched: Path) -> None:
    fetched.rename(fetched.with_name("moved"))
    with pytest.raises(SystemExit, match=r"watch: dataset.source: expected an existing folder"):
        watch.main()


def test_drawn_data_is_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    write_params(["preset=smoke"], Path("params.yaml"), repository / "experiments")
    watch.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "params.yaml", "work"]
    assert list((tmp_path / "work").iterdir()) == []


def test_an_archive_that_is_newer_than_what_was_unpacked_is_noticed(
    fetched: Path, repository: Path
) -> None:
    archive = write_tar(fetched.with_name("pictures.tar"), fetched)
    arguments = ["dataset=folder", f"dataset.source={archive}", "dataset.name=mine"]
    write_params(arguments, Path("params.yaml"), repository / "experiments")
    fetch.main()
    assert not is_changed()
    later = archive.stat().st_mtime + 1000
    os.utime(archive, (later, later))
    assert is_changed()
    archive.unlink()
    assert not is_changed()
