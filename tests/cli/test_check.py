"""`dcal check`: what is there, what is missing, and what would be done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dcal.cli.app import app
from dcal.config import ConfigError, DatasetConfig
from dcal.data.fetching import fetch_dataset
from dcal.data.index import write_index
from dcal.data.indexing import build_index
from dcal.data.named_sets import find_dataset
from dcal.data.raw import raw_root
from dcal.paths import index_folder
from pipelines.compose import compose_tree, write_params
from tests.data.factory import write_tar
from tests.data.official_fixtures import write_cars, write_joint_cars, write_msmt17
from tests.project import ROOT


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the project's data sets and params.yaml, and nothing fetched."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(folder))
    return folder


def check(*arguments: str, status: int) -> dict[str, list[str]]:
    """Return what the command says, by the first word of its lines."""
    result = CliRunner().invoke(app, ["check", *arguments])
    assert result.exit_code == status, result.output + repr(result.exception)
    said: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        what, _, text = line.partition(" ")
        said.setdefault(what, []).append(text.strip())
    return said


def snapshot(folder: Path) -> set[str]:
    return {path.as_posix() for path in folder.rglob("*")}


def test_a_public_set_would_be_downloaded(project: Path) -> None:
    before = snapshot(project)
    said = check("cub", status=1)
    assert "1,151 MB, sha256:0c685df5" in said["file"][0]
    assert "would be downloaded to data/archives" in said["file"][0]
    assert said["pictures"] == ["not there: data/raw/cub"]
    assert said["next"][0].startswith("python -m pipelines.compose dataset=cub; then dvc repro")
    assert said["page"] and "non-commercial" in said["terms"][0]
    assert snapshot(project) == before


def test_a_set_that_is_not_downloaded_asks_for_the_users_own() -> None:
    said = check("cars", status=1)
    assert "which holds cars_train/" in said["source"][0]
    assert len(said["file"]) == 6 and all("not downloaded" in text for text in said["file"])
    assert "dataset=cars dataset.source=PATH; then dvc repro" in said["next"][0]


def test_the_users_folder_is_listed_and_compared_before_anything_is_fetched(
    tmp_path: Path, project: Path
) -> None:
    folder = write_cars(tmp_path / "stanford_cars")
    before = snapshot(tmp_path)
    said = check("cars", "--source", str(folder), status=1)
    assert said["source"] == [f"{folder}: a folder, used in place"]
    assert said["pictures"][0].endswith("stanford_cars: 4 train, 3 test; 3 classes")
    assert "expected 8144 train pictures, found 4" in said["warning"][0]
    assert f"dataset.source={folder}; then get the whole set" in said["next"][0]
    assert snapshot(tmp_path) == before
    (folder / "devkit/cars_meta.mat").unlink()
    said = check("cars", "--source", str(folder), status=1)
    assert "cannot be used: " in said["pictures"][0] and "cars_meta.mat" in said["pictures"][0]


def test_an_archive_is_told_from_a_folder_and_another_one_by_its_checksum(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "cars_train.tgz", write_cars(tmp_path / "stanford_cars"))
    said = check("cars", "--source", str(archive), status=1)
    assert said["source"] == [f"{archive}: an archive, unpacked by fetch"]
    assert said["file"][0].endswith(f"{archive} is another")
    assert said["file"][1].endswith(f"not in {tmp_path}")


def test_what_was_fetched_and_prepared_is_found(project: Path) -> None:
    write_params(["preset=smoke"], project / "params.yaml", project / "experiments")
    dataset, place = find_dataset(None)
    assert place.name == "params.yaml"
    assert check(status=1)["pictures"] == ["not there: data/raw/birds_smoke"]
    fetch_dataset(dataset)
    write_index(index_folder(dataset.name), *build_index(dataset, raw_root(dataset)))
    for arguments in ((), ("birds_smoke",)):
        said = check(*arguments, status=0)
        assert "32 train" in said["pictures"][0] and "4 classes" in said["pictures"][0]
        assert said["index"] == ["52 pictures in data/index/birds_smoke, 0 warnings"]
        assert said["next"][0].startswith("dvc repro ")


def test_a_source_of_params_yaml_is_taken_for_its_own_name(tmp_path: Path, project: Path) -> None:
    folder = write_msmt17(tmp_path)
    arguments = ["dataset=msmt17", "preset=reid", f"dataset.source={folder}"]
    write_params(arguments, project / "params.yaml", project / "experiments")
    said = check("msmt17", status=1)
    assert "24 train, 12 gallery, 6 query; 4 train identities" in said["pictures"][0]


def test_an_unknown_name_lists_those_that_exist() -> None:
    result = CliRunner().invoke(app, ["check", "cas"])
    assert result.exit_code == 1
    assert "did you mean cars?; there are aircraft, birds" in result.stderr


def test_a_source_that_is_not_there_is_one_sentence() -> None:
    result = CliRunner().invoke(app, ["check", "cub", "--source", "nowhere"])
    assert result.exit_code == 1 and "nowhere does not exist" in result.stderr


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "experiments/dataset").glob("*.yaml"))
)
def test_a_file_is_read_as_composing_reads_it(name: str, project: Path) -> None:
    tree: dict[str, Any] = compose_tree([f"dataset={name}"], ROOT / "experiments")
    dataset, _ = find_dataset(name)
    expected = DatasetConfig.model_validate(tree["dataset"])
    assert dataset == expected


@pytest.mark.parametrize(
    ("defaults", "said"),
    [("folder", "expected a list of names in defaults"), ("[{a: b}]", "expected a list of names")],
)
def test_defaults_that_are_none_are_one_sentence_for_check_and_compose(
    defaults: str, said: str, project: Path
) -> None:
    path = project / "experiments/dataset/mine.yaml"
    path.write_text(f"defaults: {defaults}\nname: mine\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        find_dataset("mine")
    with pytest.raises(ConfigError, match="cannot be composed"):
        compose_tree(["dataset=mine"], project / "experiments")


@pytest.mark.parametrize("head", ["defaults: [folder]", "defaults:\n  - folder"])
@pytest.mark.parametrize("options", ["options:", "options: {}", ""])
def test_own_keys_come_last_where_nothing_is_said_of_them(
    head: str, options: str, project: Path
) -> None:
    path = project / "experiments/dataset/mine.yaml"
    path.write_text(f"{head}\nname: mine\n{options}\n", encoding="utf-8")
    assert find_dataset("mine")[0].name == "mine"


def test_a_name_that_is_too_long_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="expected the name of a file of experiments/dataset"):
        find_dataset("x" * 300)


def test_a_given_folder_is_looked_at_and_not_what_was_unpacked_before(
    tmp_path: Path, project: Path
) -> None:
    archive = write_tar(tmp_path / "one.tar", write_cars(tmp_path / "one"))
    dataset, _ = find_dataset("cars", source=str(archive))
    fetch_dataset(dataset)
    other = write_joint_cars(tmp_path / "other")
    said = check("cars", "--source", str(other), status=1)
    assert f"7 in {other}: " in said["pictures"][0]


def test_what_is_allowed_is_not_advised_again(tmp_path: Path, project: Path) -> None:
    folder = write_msmt17(tmp_path)
    arguments = ["dataset=msmt17", f"dataset.source={folder}", "dataset.allow_partial=true"]
    write_params(arguments, project / "params.yaml", project / "experiments")
    said = check(status=0)
    assert said["next"][0].startswith("dvc repro ") and "not the official set" in said["warning"][0]


def test_without_params_yaml_and_a_name_the_missing_file_is_named(project: Path) -> None:
    (project / "params.yaml").unlink()
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1 and "params.yaml" in result.stderr and "None" not in result.stderr
    assert check("cub", status=1)["pictures"] == ["not there: data/raw/cub"]
