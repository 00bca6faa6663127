"""From a grid to the config of each training (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dcal.ablation.grid import SAME_TIME, Grid, GridError
from dcal.config import Config, ConfigError, read_yaml
from dcal.section_files import name_near_files
from dcal.tuning.checks import SECTIONS, require_sections
from dcal.tuning.effects import IDLE, find_unmet_need
from dcal.tuning.errors import TuningError
from dcal.tuning.space import Overrides, apply, get_value


class Arm(NamedTuple):
    """What is compared with the baseline."""

    name: str
    overrides: Overrides  # over the baseline's config
    config: Config


def find_baseline(grid: Grid, config: Config) -> Config:
    """Return the baseline's config: a run's, with what the grid has otherwise.

    Raises:
        ConfigError: The grid's base has a key or a value that the tree refuses.
        GridError: It has a key that all trainings must share, such as one of the data set.
    """
    baseline = apply(config, grid.base, origin="base")
    _require_sections(grid.base, "base")
    return baseline


def build_arms(grid: Grid, config: Config, options: Path) -> list[Arm]:
    """Return the baseline and, after it, each arm; see `extend_arm` for those of `same_time`.

    Args:
        grid: What is compared.
        config: Of the run; `grid.base` is laid over it.
        options: The folder of the files that `grid.arms` names.

    Raises:
        GridError: An arm cannot differ from the baseline or is another one's twin, or no such file.
        ConfigError: The tree refuses a key or a value.
    """
    baseline = find_baseline(grid, config)
    arms = [Arm(grid.baseline, {}, baseline)]
    given = [(name, _read_option(options / f"{name}.yaml")) for name in grid.arms]
    given += [(name_value(key, value, grid.vary), {key: value}) for key, value in _vary(grid)]
    for name, overrides in given:
        arm = Arm(name, overrides, apply(baseline, overrides, origin=f"arm {name}"))
        _require_sections(overrides, f"arm {name}")
        if arm.config == baseline and name not in grid.arms:
            continue  # a value of `vary` that the baseline has
        _check(arm, arms)
        arms.append(arm)
    if len(arms) == 1:
        raise GridError("vary: expected a value that the baseline does not have, got none")
    return arms


def extend_arm(arm: Arm, ratio: float) -> Arm:
    """Return the arm with as many epochs as the baseline's time pays for, at least one.

    Args:
        arm: Of `build_arms`.
        ratio: An epoch's time of the baseline over one of the arm.
    """
    epochs = max(1, round(arm.config.train.epochs * ratio))
    overrides = {**arm.overrides, "train.epochs": epochs}
    name = f"{arm.name}{SAME_TIME}"
    return Arm(name, overrides, apply(arm.config, {"train.epochs": epochs}, origin=f"arm {name}"))


def _require_sections(overrides: Overrides, place: str) -> None:
    try:
        require_sections(overrides, SECTIONS, place=place)
    except TuningError as error:
        raise GridError(str(error)) from None


def _vary(grid: Grid) -> Iterator[tuple[str, Any]]:
    for key, values in grid.vary.items():
        yield from ((key, value) for value in values)


def name_value(key: str, value: Any, keys: Iterable[str]) -> str:
    """Return what an arm of one value is called: short where no other of the keys ends alike."""
    last = key.rpartition(".")[2]
    is_unique = [other.rpartition(".")[2] for other in keys].count(last) == 1
    return f"{last if is_unique else key}={value}"


def _read_option(path: Path) -> Overrides:
    if not path.is_file():
        raise GridError(f"arms: {path}: no such file{name_near_files(path)}")
    try:
        return dict(_flatten(read_yaml(path)))
    except ConfigError as error:
        raise GridError(f"arms: {error}") from None


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _check(arm: Arm, others: list[Arm]) -> None:
    twin = next((other for other in others if other.config == arm.config), None)
    if twin is not None:
        what = "the baseline" if twin is others[0] else f"arm {twin.name}"
        raise GridError(f"arm {arm.name} is the same as {what}, so there is nothing to compare")
    changed = [key for key in arm.overrides if _differs(key, arm, others[0])]
    if set(changed) <= set(IDLE):
        raise GridError(
            f"arm {arm.name} cannot differ from the baseline: {changed[0]} changes no score"
        )
    if arm.config.train.selection == "test" != others[0].config.train.selection:
        raise GridError(
            f"arm {arm.name}: train.selection=test would choose its epoch by the split that the "
            "baseline is only scored on"
        )
    unmet = [need for key in changed if (need := find_unmet_need(key, arm.config))]
    if unmet and len(unmet) == len(changed):
        raise GridError(
            f"arm {arm.name} cannot differ from the baseline: {changed[0]} matters where "
            f"{unmet[0].describe()} ({unmet[0].reason})"
        )


def _differs(key: str, arm: Arm, baseline: Arm) -> bool:
    return bool(get_value(arm.config, key) != get_value(baseline.config, key))
