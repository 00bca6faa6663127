"""Pictures arrive whole or not at all, and a user's folder is never copied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcal.config import ConfigError
from dcal.data.fetching import fetch_dataset
from dcal.data.raw import raw_root
from dcal.data.source_path import compute_listing_digest, locate_source
from tests.data.factory import make_dataset, write_folder, write_tar

COUNTS = {"train": {"a": 2, "b": 2}, "test": {"a": 1}}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


def test_a_folder_is_used_in_place(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", COUNTS)
    dataset = make_dataset(source="../pictures")
    fetch_dataset(dataset)
    assert raw_root(dataset) == folder.resolve()
    assert [path.name for path in Path("data/raw/mine").iterdir()] == ["source.json"]


def test_a_changed_folder_changes_what_fetch_writes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", COUNTS)
    dataset = make_dataset(source=str(folder))
    record = fetch_dataset(dataset) / "source.json"
    first = record.read_bytes()
    fetch_dataset(dataset)
    assert record.read_bytes() == first
    (folder / "train/a/000.png").rename(folder / "train/b/new.png")
    fetch_dataset(dataset)
    assert json.loads(record.read_bytes())["listing_sha256"] != json.loads(first)["listing_sha256"]


def test_the_listing_digest_is_of_names_and_sizes_wherever_the_folder_lies(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", COUNTS)
    other = write_folder(tmp_path / "deep" / "other", COUNTS)
    assert compute_listing_digest(one) == compute_listing_digest(other)
    with open(other / "train/a/000.png", "ab") as stream:
        stream.write(b"x")
    assert compute_listing_digest(one) != compute_listing_digest(other)
    (one / "gone").symlink_to("nowhere")
    compute_listing_digest(one)


def test_an_archive_is_unpacked_below_data_raw(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "p.tgz", write_folder(tmp_path / "pictures", COUNTS))
    dataset = make_dataset(source=str(archive))
    fetch_dataset(dataset)
    assert raw_root(dataset) == Path("data/raw/mine")
    assert Path("data/raw/mine/pictures/train/a/000.png").is_file()


def test_a_damaged_archive_leaves_the_earlier_pictures(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "p.tgz", write_folder(tmp_path / "pictures", COUNTS))
    dataset = make_dataset(source=str(archive))
    fetch_dataset(dataset)
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        fetch_dataset(dataset)
    assert Path("data/raw/mine/pictures/train/a/000.png").is_file()
    assert [path.name for path in Path("data/raw").iterdir()] == ["mine"]


def test_a_relative_source_is_found_from_a_temporary_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "pictures", COUNTS)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "project"))
    elsewhere = tmp_path / "project" / ".dvc" / "tmp" / "exp"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert locate_source(make_dataset(source="../pictures")) == folder.resolve()


def test_what_cannot_be_a_source_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"dataset\.source: expected the folder or arch"):
        fetch_dataset(make_dataset())
    with pytest.raises(FileNotFoundError, match=r"dataset\.source: expected an existing folder"):
        fetch_dataset(make_dataset(source="nowhere"))
    with pytest.raises(ValueError, match=r"dataset\.source: expected a folder or an archive"):
        fetch_dataset(make_dataset(source=str(tmp_path / "a.txt")))
    with pytest.raises(ConfigError, match=r"dataset\.options: shape: unknown key"):
        fetch_dataset(make_dataset(source=str(tmp_path), options={"shape": 1}))
    assert not Path("data/raw/mine").exists()


@pytest.mark.parametrize("inner", ["", "pictures"])
def test_a_source_that_fetching_would_delete_is_refused(inner: str) -> None:
    folder = write_folder(Path("data/raw/mine") / inner, COUNTS)
    with pytest.raises(ValueError, match=r"lies in data/raw/mine, which fetch replaces"):
        fetch_dataset(make_dataset(source=str(folder)))
    assert (folder / "train/a/000.png").is_file()


def test_raw_root_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run: python -m pipelines\.fetch"):
        raw_root(make_dataset())
    folder = write_folder(tmp_path / "pictures", COUNTS)
    dataset = make_dataset(source=str(folder))
    fetch_dataset(dataset)
    folder.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="the folder of dataset mine is gone"):
        raw_root(dataset)


def test_what_lies_behind_a_linked_folder_is_listed_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "linked", COUNTS)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/train").symlink_to(folder / "train")
    (folder / "train/loop").symlink_to(folder / "train")
    before = compute_listing_digest(tmp_path / "source")
    (folder / "train/a/000.png").unlink()
    assert compute_listing_digest(tmp_path / "source") != before


def test_a_source_whose_name_is_too_long_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        locate_source(make_dataset(source="x" * 300))
