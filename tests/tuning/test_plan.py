from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dcal.tuning.errors import TuningError
from dcal.tuning.plan import check_plan, find_base, load_plan
from dcal.tuning.presets import describe_paper, list_presets
from dcal.tuning.scores import check_objectives
from tests.tuning.factory import (
    COST,
    LR,
    NUM_BLOCKS,
    READOUT,
    ROOT,
    SCORE,
    TOP_R,
    WITH_LOCAL,
    load_base,
    make_plan,
)

HYPERBAND = {"kind": "hyperband", "min_epochs": 3, "max_epochs": None, "reduction_factor": 3}
READOUT_AND_TOP_R = {"model.readout": READOUT, "model.top_r": TOP_R | WITH_LOCAL}

TEXT = """
study:
  name: finches
  objectives: {val/both/top1_accuracy: maximize}
  budget: {num_trials: 4, minutes: null}
  pruner: {kind: hyperband, min_epochs: 3, max_epochs: null, reduction_factor: 3}
  sampler_seed: 0
  enqueue: []
space:
  train.lr: {kind: float, low: 1e-4, high: 1e-2, log: true}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_trials: 4", "num_trials: 0", r"num_trials: should be greater than or equal to 1"),
        ("minutes: null", "minutes: 0", r"minutes: should be greater than 0; got 0"),
        ("num_trials: 4", "num_trials: null", r"expected num_trials or minutes"),
        ("num_trials: 4", "num_trails: 4", r"num_trails: unknown key; did you mean num_trials\?"),
        ("high: 1e-2", "high: 1e-5", r"got the empty range 0\.0001 to 1e-05"),
        ("high: 1e-2", "high: 1e-4", r"One value is no search"),
        ("low: 1e-4", "low: 0", r"log: expected low above 0"),
        ("log: true", "log: true, step: 0.1", r"log: expected low above 0 and no step"),
        ("log: true", "step: 0.002", r"step: expected 0\.002 to divide high - low"),
        ("high: 1e-2", "high: .inf", r"high: should be a finite number"),
        ("kind: float", "kind: flaot", r"train.lr.kind: expected one of 'float', .*; got 'flaot'"),
        ("kind: float", "kind: int", r"low: should be a valid integer"),
        (
            "{kind: float, low: 1e-4, high: 1e-2, log: true}",
            "{kind: categorical, choices: [0.1]}",
            r"choices: expected two at least",
        ),
        (
            "{kind: float, low: 1e-4, high: 1e-2, log: true}",
            "{kind: categorical, choices: [1, true]}",
            r"choices: True is given twice",
        ),
        ("maximize", "max", r"should be 'maximize' or 'minimize'; got 'max'"),
        ("val/both", "test/both", r"expected a score of the held-out split"),
        ("val/both/top1_accuracy: maximize", "", r"expected one objective or two, got 0"),
        ("val/both/top1_accuracy: maximize", f"{COST}: minimize", r"or the cheapest model"),
        ("val/both/top1_accuracy: maximize", f"{COST}: maximize", r"expected minimize"),
        ("maximize}", f"maximize, {COST}: minimize}}", r"pruner: expected kind none"),
        ("reduction_factor: 3", "reduction_factor: 1", r"should be greater than or equal to 2"),
        ("name: finches", "name: ''", r"study.name: expected letters, digits, .*; got ''"),
        ("name: finches", "name: two finches", r"study.name: expected letters.*no blanks"),
        ("name: finches", "name: " + 65 * "a", r"study.name: .*at most 64 characters"),
        ("low: 1e-4", "lo: 1e-4", r"space.train.lr.lo: unknown key; did you mean low\?"),
        ("kind: float, ", "", r"space.train.lr.kind: missing"),
        ("{kind: float, low: 1e-4, high: 1e-2, log: true}", "3", r"train.lr: expected keys with"),
        ("kind: hyperband", "kind: hyperbnd", r"pruner.kind: expected one of 'hyperband', 'none'"),
        ("name: finches", "name: [a", r"not a valid YAML file"),
        (TEXT, "", r"expected the keys study, base, space; got nothing"),
        (TEXT, "- study", r"expected the keys study, base, space; got list"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused_by_its_key(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "finches.yaml"
    path.write_text(TEXT)
    load_plan(path)
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(TuningError, match=message) as caught:
        load_plan(path)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())


def test_a_plan_that_is_not_there_is_told_which_are() -> None:
    folder = ROOT / "experiments" / "tune"
    with pytest.raises(TuningError, match=r"did you mean architecture\?; there are accuracy_and_"):
        load_plan(folder / "architectures.yaml")


@pytest.mark.parametrize(
    ("changes", "overrides"),
    [({"min_epochs": 13}, []), ({"max_epochs": 14}, []), ({}, ["train.epochs=3"])],
)
def test_rungs_that_no_trial_reaches_are_refused(
    changes: dict[str, Any], overrides: list[str]
) -> None:
    plan = make_plan(pruner=HYPERBAND | changes)
    with pytest.raises(TuningError, match=r"min_epochs below max_epochs and that at most train\."):
        check_plan(plan, load_base(*overrides), num_blocks=NUM_BLOCKS)
    check_plan(make_plan(pruner=HYPERBAND), load_base(), num_blocks=NUM_BLOCKS)


GLCA = {"kind": "int", "low": 0, "high": 2}


@pytest.mark.parametrize(
    ("objectives", "space", "overrides", "message"),
    [
        ({"val/both/top1": "maximize"}, {}, [], r"top1: no training of birds gives"),
        (
            {"val/pwca/loss": "minimize"},
            {},
            [],
            r"no training .*there are val/both/top1_",
        ),
        ({"val/both/mean_ap": "maximize"}, {}, [], r"no training of birds gives this score"),
        ({"val/sa/cmc_1": "minimize"}, {}, ["dataset.kind=reid"], r"expected maximize, got minim"),
        ({SCORE: "minimize"}, {}, [], r"top1_accuracy: expected maximize, got minimize"),
        ({"val/sa/loss": "maximize", COST: "minimize"}, {}, [], r"loss: expected minimize"),
        ({SCORE: "maximize"}, {"model.glca_blocks": GLCA}, [], r"take val/sa/top1_accuracy"),
        ({"val/glca/loss": "minimize"}, {}, ["model.glca_blocks=0"], r"no branch glca; begin"),
        (
            {SCORE: "maximize"},
            {"model.glca_blocks": GLCA | {"low": 1, "when": {"train.lr": 0.001}}},
            ["model.glca_blocks=0"],
            r"model.glca_blocks=0, which this study may try",
        ),
    ],
)
def test_a_goal_that_a_trial_may_not_have_is_refused(
    objectives: dict[str, Any], space: dict[str, Any], overrides: list[str], message: str
) -> None:
    plan = make_plan({"train.lr": LR} | space, objectives=objectives)
    with pytest.raises(TuningError, match=f"study.objectives: .*{message}"):
        check_objectives(plan.study.objectives, plan.space, load_base(*overrides))


@pytest.mark.parametrize(
    ("objective", "space"), [("val/sa/loss", {"model.glca_blocks": GLCA}), ("val/glca/loss", {})]
)
def test_a_goal_that_every_trial_has_is_taken(objective: str, space: dict[str, Any]) -> None:
    plan = make_plan({"train.lr": LR} | space, objectives={objective: "minimize"})
    check_plan(plan, load_base(), num_blocks=NUM_BLOCKS)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"dataset.val_ratio": 0.3}, r"base: dataset.val_ratio: expected a key of model, loss, "),
        ({"evaluate.flip": True}, r"base: evaluate.flip: expected a key of"),
        ({"train.lr": 0.01}, r"base: train.lr is searched, too"),
    ],
)
def test_a_base_that_would_do_nothing_or_something_else_is_refused(
    base: dict[str, Any], message: str
) -> None:
    plan = make_plan({"train.lr": LR}).model_copy(update={"base": base})
    with pytest.raises(TuningError, match=message):
        find_base(plan, load_base())


def test_a_base_may_have_a_seed_and_fewer_epochs() -> None:
    plan = make_plan().model_copy(update={"base": {"seed": 3, "train.epochs": 5}})
    found = find_base(plan, load_base())
    assert (found.seed, found.train.epochs) == (3, 5)


def test_the_papers_settings_and_the_config_as_it_is_come_first() -> None:
    plan = make_plan(READOUT_AND_TOP_R, enqueue=[{"model.top_r": 0.5}, {"model.readout": "class"}])
    found = list_presets(plan.study, plan.space, load_base(), num_blocks=NUM_BLOCKS)
    assert found == [
        {"model.readout": "class"},  # the paper's; top_r changes nothing there
        {"model.readout": "class_local", "model.top_r": 0.3},
        {"model.readout": "class_local", "model.top_r": 0.5},
    ]


def test_the_papers_top_r_and_depth_are_those_of_the_task_and_the_backbone() -> None:
    paper = describe_paper(load_base(), num_blocks=12)
    assert (paper["model.top_r"], paper["model.pwca_blocks"]) == (0.1, 12)
    reid = load_base("dataset.kind=reid")
    assert describe_paper(reid, num_blocks=12)["model.top_r"] == 0.3


def test_a_setting_of_the_paper_that_the_space_lacks_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = make_plan({"model.top_r": TOP_R | {"low": 0.3}})
    found = list_presets(plan.study, plan.space, load_base(), num_blocks=NUM_BLOCKS)
    assert found == [{"model.top_r": 0.3}]
    assert "the paper's model.top_r=0.1 is not in the space" in caplog.text


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ({"train.lr": 0.001}, r"entry 1: train\.lr is not in the space; it has model\.readout"),
        ({"model.top_r": 0.95}, r"entry 1: model\.top_r=0\.95 is not in the space"),
        ({"model.top_r": "0.3"}, r"entry 1: model\.top_r=0\.3 is not in the space"),
        (
            {"model.readout": "class", "model.top_r": 0.3},
            r"entry 1: model\.top_r is not searched beside its other values",
        ),
    ],
)
def test_a_preset_outside_the_space_is_refused(preset: dict[str, Any], message: str) -> None:
    plan = make_plan(READOUT_AND_TOP_R, enqueue=[preset])
    with pytest.raises(TuningError, match=message):
        check_plan(plan, load_base(), num_blocks=NUM_BLOCKS)


def test_a_preset_takes_the_samplers_value_where_the_space_lacks_the_configs() -> None:
    plan = make_plan({"train.lr": LR | {"high": 5e-4}, "model.top_r": TOP_R})
    found = list_presets(plan.study, plan.space, load_base(), num_blocks=NUM_BLOCKS)
    assert found == [{"model.top_r": 0.1}, {"model.top_r": 0.3}]
