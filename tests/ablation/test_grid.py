"""Grids: what their files may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dcal.ablation.arms import Arm, build_arms, extend_arm, name_value
from dcal.ablation.grid import GridError, load_grid
from dcal.config import ConfigError, load_config

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ROOT / "experiments" / "ablation"
GRIDS = sorted((ROOT / "experiments" / "grid").glob("*.yaml"))
GRID: dict[str, Any] = {
    "question": "Why?",
    "baseline": "dcal",
    "arms": ["sa_only"],
    "seeds": [0, 1],
    "hours": None,
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    tree = {key: value for key, value in {**GRID, **changes}.items() if value != "left out"}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def build(folder: Path, *overrides: str, **changes: Any) -> list[Arm]:
    config = load_config(ROOT / "params.yaml", list(overrides))
    return build_arms(load_grid(write(folder, **changes)), config, OPTIONS)


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_fits_the_default_experiment(path: Path) -> None:
    grid = load_grid(path)
    arms = build_arms(grid, load_config(ROOT / "params.yaml"), OPTIONS)
    assert arms[0].name == grid.baseline and len(arms) > 2
    assert len({arm.config.model_dump_json() for arm in arms}) == len(arms)
    assert f"make ablate GRID={path.stem}\n" in path.read_text(encoding="utf-8")


def test_an_arm_is_the_baseline_with_its_file_laid_over(tmp_path: Path) -> None:
    baseline, arm = build(tmp_path, base={"train.epochs": 3})
    assert (baseline.name, baseline.overrides) == ("dcal", {})
    assert baseline.config == load_config(ROOT / "params.yaml", ["train.epochs=3"])
    assert arm.name == "sa_only"
    expected = {"glca_blocks": 0, "pwca_blocks": 0}
    assert arm.config.model == baseline.config.model.model_copy(update=expected)
    assert arm.config.train == baseline.config.train


def test_values_make_an_arm_each_but_for_the_baselines_own(tmp_path: Path) -> None:
    arms = build(tmp_path, arms=[], vary={"model.top_r": [0.1, 0.3, 0.5]})
    assert [arm.name for arm in arms] == ["dcal", "top_r=0.1", "top_r=0.5"]
    assert arms[2].config.model.top_r == 0.5


def test_keys_that_end_alike_are_told_apart() -> None:
    keys = ["loss.fixed_weights.sa", "loss.initial_log_variances.sa", "model.top_r"]
    assert [name_value(key, 1, keys) for key in keys] == [f"{k}=1" for k in (*keys[:2], "top_r")]


def test_an_arm_is_extended_by_whole_epochs(tmp_path: Path) -> None:
    _, arm = build(tmp_path)
    longer = extend_arm(arm, 2.4)
    assert longer.name == "sa_only_same_time"
    assert longer.config.train.epochs == 31  # 13 * 2.4 = 31.2
    assert longer.config.model == arm.config.model
    assert extend_arm(arm, 0.001).config.train.epochs == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": []}, "expected arms or vary; got neither"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [0, 1, 0]}, "expected each once, got 0 twice"),
        ({"seeds": [-1]}, r"seeds\.0"),
        ({"arms": ["sa_only", "sa_only"]}, "expected each once, got sa_only twice"),
        ({"vary": {"model.top_r": []}}, "model.top_r: expected one value or more, got none"),
        ({"vary": {"seed": [1]}}, "seed: expected in seeds"),
        ({"same_time": ["no_glca"]}, "same_time: expected some of arms, got no_glca"),
        ({"hours": 0}, "hours: should be greater than 0; got 0"),
        ({"hours": "left out"}, "hours"),
        ({"baseline": "a b"}, "baseline: expected one word of letters.*; got 'a b'"),
        ({"baseline": "sa_only"}, "expected a name for each arm, got sa_only twice"),
        (
            {"arms": ["sa_only", "sa_only_same_time"], "same_time": ["sa_only"]},
            "expected a name for each arm, got sa_only_same_time twice",
        ),
        ({"arms": ["../dataset/birds"]}, r"expected names of files .*, got '\.\./dataset/birds'"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_grid_that_cannot_be_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GridError, match=message) as caught:
        load_grid(write(tmp_path, **changes))
    assert "\n" not in str(caught.value) and "mine.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["sa_onyl"]}, r"sa_onyl\.yaml: no such file, did you mean sa_only\?"),
        ({"arms": ["sa_only", "no_glca"], "base": {"model.pwca_blocks": 0}}, "no_glca is the same"),
        ({"arms": ["no_pwca"], "base": {"model.pwca_blocks": 0}}, "the same as the baseline"),
        (
            {"vary": {"model.top_r": [0.5]}, "base": {"model.readout": "class"}},
            r"arm top_r=0\.5 cannot differ .*: model.top_r matters where model.readout is local",
        ),
        ({"arms": [], "vary": {"model.top_r": [0.3]}}, "vary: expected a value"),
        ({"vary": {"train.log_every": [1]}}, "cannot differ .*: train.log_every changes no score"),
        ({"vary": {"train.selection": ["test"]}}, "selection=test would choose its epoch by"),
        ({"base": {"dataset.val_ratio": 0.5}}, "base: dataset.val_ratio: expected a key of model"),
        ({"vary": {"evaluate.flip": [True]}}, "arm flip=True: evaluate.flip: expected a key of"),
    ],
)
def test_an_arm_that_cannot_differ_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GridError, match=message):
        build(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vary": {"model.topr": [0.5]}}, r"arm topr=0\.5: .*top_r"),
        ({"vary": {"model.top_r": [1.5]}}, r"arm top_r=1\.5"),
        ({"base": {"train.epoch": 3}}, "base: .*epoch"),
    ],
)
def test_a_key_or_value_that_the_tree_refuses_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, **changes)


def test_no_such_grid_names_a_near_one(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(GridError, match=r"mien\.yaml: no such file, did you mean mine\?"):
        load_grid(tmp_path / "mien.yaml")
    with pytest.raises(GridError, match="cannot be read"):
        load_grid(tmp_path)


def test_a_file_that_is_no_yaml_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("arms: [a\n")
    with pytest.raises(GridError, match=r"mine\.yaml: "):
        load_grid(tmp_path / "mine.yaml")
