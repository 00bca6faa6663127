from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal.config import ConfigError, parse_config
from dcal.tuning.checks import check_space
from dcal.tuning.errors import TuningError
from dcal.tuning.plan import Plan, check_plan, find_base, load_plan
from dcal.tuning.space import apply, get_value, order_keys, suggest
from dcal.tuning.study import make_sampler
from tests.tuning.factory import (
    LR,
    NUM_BLOCKS,
    READOUT,
    ROOT,
    TOP_R,
    WITH_LOCAL,
    load_base,
    make_plan,
)

PLANS = sorted((ROOT / "experiments" / "tune").glob("*.yaml"))
WEIGHTING = {"kind": "categorical", "choices": ["uncertainty", "fixed"]}
GLCA = {"kind": "int", "low": 0, "high": 2}
EPOCHS = {"kind": "int", "low": 2, "high": 13}


class Chosen:
    """A trial whose every value another one chooses."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        if options["step"] is None:
            return self.draw(st.floats(low, high))
        # As Optuna does it: 0.1 + 2 * 0.1 is not 0.3.
        num_steps = round((high - low) / options["step"])
        return low + self.draw(st.integers(0, num_steps)) * options["step"]

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        return low + options["step"] * self.draw(st.integers(0, (high - low) // options["step"]))

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self.draw(st.sampled_from(choices))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_committed_plan_fits_the_default_experiment(path: Path) -> None:
    plan = load_plan(path)
    check_plan(plan, find_base(plan, load_base()), num_blocks=NUM_BLOCKS)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_study_is_called_as_its_file(path: Path) -> None:
    assert load_plan(path).study.name == path.stem


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_every_suggestion_is_a_config_that_differs_only_where_it_is_searched(
    path: Path, data: st.DataObject
) -> None:
    plan, base = load_plan(path), load_base()
    values = suggest(Chosen(data.draw), plan.space, base)
    config = apply(base, values)
    assert parse_config(config.model_dump(mode="json")) == config
    for key, parameter in plan.space.items():
        conditions = [get_value(config, k) in allowed for k, allowed in parameter.when.items()]
        assert (key in values) == all(conditions)
        expected = values[key] if key in values else get_value(base, key)
        assert get_value(config, key) == expected
    restored = apply(config, {key: get_value(base, key) for key in values})
    assert restored == base


@given(data=st.data())
def test_a_value_with_a_step_is_the_decimal_number(data: st.DataObject) -> None:
    space = make_plan({"model.top_r": TOP_R}).space
    value = suggest(Chosen(data.draw), space, load_base())["model.top_r"]
    assert Decimal(repr(value)) % Decimal("0.1") == 0
    assert space["model.top_r"].holds(value)


def test_a_key_is_not_searched_while_a_key_that_it_depends_on_is_not() -> None:
    space = make_plan(
        {
            "model.top_r": TOP_R | {"when": {"model.readout": "class_local"}},
            "model.readout": READOUT | {"when": {"model.glca_blocks": [1, 2]}},
            "model.glca_blocks": GLCA,
        }
    ).space
    base = load_base()
    assert base.model.readout == "class_local"  # which alone would satisfy the condition
    assert order_keys(space) == ["model.glca_blocks", "model.readout", "model.top_r"]
    trial = optuna.trial.FixedTrial(
        {"model.glca_blocks": 0, "model.readout": "class_local", "model.top_r": 0.2}
    )
    assert suggest(trial, space, base) == {"model.glca_blocks": 0}
    trial = optuna.trial.FixedTrial(
        {"model.glca_blocks": 2, "model.readout": "class_local", "model.top_r": 0.2}
    )
    assert suggest(trial, space, base) == trial.params


def draw_suggestions(plan: Plan, *, seed: int, begun: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study()
    found = []
    for number in range(15):
        study.sampler = make_sampler(seed, num_begun=begun + number)
        trial = study.ask()
        found.append(suggest(trial, plan.space, load_base()))
        study.tell(trial, len(found[-1]))
    return found


def test_the_same_seed_gives_the_same_suggestions_and_another_seed_or_place_others() -> None:
    plan = load_plan(PLANS[0].with_name("loss_and_top_r.yaml"))
    first = draw_suggestions(plan, seed=0)
    assert draw_suggestions(plan, seed=0) == first
    assert draw_suggestions(plan, seed=1) != first
    assert draw_suggestions(plan, seed=0, begun=1) != first


BAD_SPACES: list[tuple[dict[str, Any], str]] = [
    ({}, r"expected a key to search at least"),
    ({"model.topr": TOP_R}, r"model\.topr: unknown key; did you mean top_r\?"),
    ({"modle.top_r": TOP_R}, r"modle: unknown key; did you mean model\?"),
    ({"top_r": TOP_R}, r"top_r: unknown key; did you mean model\.top_r\?"),
    ({"loss.fixed_weights": LR}, r"got a section; it has loss\.fixed_weights\.sa, loss\.f"),
    ({"model.top_r.x": TOP_R}, r"model\.top_r\.x: top_r is not a section"),
    ({"train.log_every": {"kind": "int", "low": 1, "high": 9}}, r"log_every changes no score"),
    ({"seed": {"kind": "int", "low": 0, "high": 9}}, r"seed: expected a key of model, loss"),
    ({"dataset.val_ratio": TOP_R}, r"dataset\.val_ratio: expected a key"),
    ({"model.top_r": TOP_R | {"high": 1.5}}, r"model\.top_r: should be less than or equal to 1"),
    ({"train.optimizer": {"kind": "categorical", "choices": ["adam", "adan"]}}, r"got 'adan'"),
    (
        {"model.glca_blocks": {"kind": "float", "low": 0.5, "high": 1.5}},
        r"model\.glca_blocks: should be a valid integer",
    ),
    ({"model.pwca_blocks": {"kind": "int", "low": 1, "high": 12}}, r"at most 6, .*; got 12"),
    ({"model.glca_blocks": {"kind": "int", "low": 1, "high": 6}}, r"at most 5, .*; got 6"),
    ({"train.warmup_epochs": {"kind": "int", "low": 1, "high": 14}}, r"at most train\.epochs"),
    (
        {"train.epochs": EPOCHS, "train.warmup_epochs": {"kind": "int", "low": 1, "high": 5}},
        r"at most train\.epochs, which is \d; got \d.*\(with train\.epochs=",
    ),
    ({"model.top_r": TOP_R | {"when": {"modle.readout": "class"}}}, r"neither in the space nor"),
    ({"model.top_r": TOP_R | {"when": {"model.readout": []}}}, r"expected a value at least"),
    (
        {"model.top_r": TOP_R | {"when": {"model.readout": "local"}}},
        r"is not searched and is 'class_local' in the config, so model\.top_r would never",
    ),
    (
        {"model.top_r": TOP_R | {"when": {"model.readout": "all"}}, "model.readout": READOUT},
        r"when: model\.readout never is 'all' in this space",
    ),
    ({"train.lr": LR, "model.top_r": TOP_R | {"when": {"train.lr": 0.01}}}, r"categorical or int"),
    (
        {
            "model.glca_blocks": GLCA | {"when": {"model.readout": "local"}},
            "model.readout": READOUT | {"when": {"model.glca_blocks": 1}},
        },
        r"circle: model\.glca_blocks -> model\.readout -> model\.glca_blocks",
    ),
    (
        {
            "loss.weighting": WEIGHTING,
            "loss.log_variance_lr": LR | {"when": {"loss.weighting": "uncertainty"}},
            "model.readout": READOUT | {"when": {"loss.weighting": "fixed"}},
            "model.top_r": TOP_R
            | {"when": {"model.readout": "local", "loss.weighting": "uncertainty"}},
        },
        r"model\.top_r=0\.\d is never tried: its conditions exclude each other",
    ),
    # Keys that change nothing where they are searched.
    ({"model.top_r": TOP_R, "model.readout": READOUT}, r"when: \{model\.readout: \[local, class_l"),
    (
        {"model.top_r": TOP_R, "model.readout": READOUT | {"choices": ["class", "local"]}},
        r"cannot change the output\. .*when: \{model\.readout: \[local\]\}",
    ),
    (
        {"model.glca_blocks": GLCA, "model.top_r": TOP_R},
        r"no GLCA branch\. .*when: \{model\.glca_blocks: \[every value but 0\]\}",
    ),
    (
        {"loss.weighting": WEIGHTING, "loss.log_variance_lr": LR},
        r"fixed weights are not learned\. .*when: \{loss\.weighting: \[uncertainty\]\}",
    ),
    (
        {"loss.fixed_weights.glca": LR},
        r"loss\.fixed_weights\.glca is .* See that loss\.weighting is fixed in params\.yaml",
    ),
    ({"train.momentum": TOP_R}, r"no other optimiser reads it"),
]


@pytest.mark.parametrize(("space", "message"), BAD_SPACES)
def test_a_space_that_cannot_be_searched_is_one_sentence(
    space: dict[str, Any], message: str
) -> None:
    with pytest.raises(TuningError, match=message) as caught:
        check_space(make_plan(space).space, load_base(), num_blocks=NUM_BLOCKS)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("space")


def test_top_r_is_refused_with_the_reason_while_the_configs_read_out_is_class() -> None:
    space = make_plan({"model.top_r": TOP_R}).space
    check_space(space, load_base(), num_blocks=NUM_BLOCKS)
    reason = r"with model\.readout=class .* cannot change the output\. See that model\.readout is "
    with pytest.raises(TuningError, match=reason):
        check_space(space, load_base("model.readout=class"), num_blocks=NUM_BLOCKS)
    conditional = make_plan({"model.top_r": TOP_R | WITH_LOCAL, "model.readout": READOUT}).space
    check_space(conditional, load_base("model.readout=class"), num_blocks=NUM_BLOCKS)


def test_an_override_of_an_unknown_key_is_refused_by_the_tree() -> None:
    with pytest.raises(ConfigError, match=r"^trial 3: model\.topr: unknown key; did you mean"):
        apply(load_base(), {"model.topr": 0.2}, origin="trial 3")
