"""A data set is found by its module's name, and its options are checked by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dcal.config import ConfigError, DatasetConfig, Section, read_yaml
from dcal.data import sources
from dcal.data.sources import check_options, get_source, list_sources
from pipelines.compose import compose_tree
from tests.data.factory import make_dataset


def test_every_module_is_a_source_that_says_what_it_reads() -> None:
    assert {"cub", "folder"} <= set(list_sources())
    for name in list_sources():
        source = get_source(make_dataset(source_type=name))
        assert issubclass(source.Options, Section)
        assert callable(source.fetch) and callable(source.build_table)


def test_every_dataset_file_fits_its_source(repository: Path) -> None:
    paths = sorted((repository / "experiments" / "dataset").glob("*.yaml"))
    assert {"cub", "folder"} <= {path.stem for path in paths}
    for path in paths:
        tree = compose_tree([f"dataset={path.stem}"], repository / "experiments")
        check_options(DatasetConfig.model_validate(tree["dataset"]))


@pytest.mark.parametrize("name", ["vehicles", "veri776", "market"])
def test_sets_of_identities_say_so_and_fit_their_source(name: str, repository: Path) -> None:
    tree = read_yaml(repository / "experiments" / "dataset" / f"{name}.yaml")
    dataset = DatasetConfig.model_validate(tree)
    check_options(dataset)
    assert dataset.kind == "reid"
    # Only what is drawn may leave the machine.
    assert dataset.redistributable == (name == "vehicles")


def test_a_new_file_in_the_package_is_a_new_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brand_new.py").write_text(
        "from dcal.config import Section\nclass Options(Section):\n    size: int\n"
    )
    (tmp_path / "_shared.py").write_text("")
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    assert "brand_new" in list_sources() and "_shared" not in list_sources()
    check_options(make_dataset(source_type="brand_new", options={"size": 3}))
    monkeypatch.delitem(sys.modules, "dcal.data.sources.brand_new")


def test_an_unknown_source_type_lists_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"expected one of .*cub, folder.* did you mean folder"):
        get_source(make_dataset(source_type="foldr"))


def test_a_mistyped_option_is_named_with_its_nearest_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"num_clases: unknown key; did you mean num_classes"):
        check_options(make_dataset(source_type="birds", options={"num_clases": 2}))
    with pytest.raises(ConfigError, match=r"dataset\.options: num_classes: .* got 'yes'"):
        check_options(make_dataset(source_type="birds", options={"num_classes": "yes"}))
    with pytest.raises(ConfigError, match=r"a: unknown key; no key is valid here"):
        check_options(make_dataset(source_type="cub", options={"a": 1}))
