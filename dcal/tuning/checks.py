"""What is wrong with a search space, found before the first trial (ours)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from dcal.config import Config, ConfigError, Section
from dcal.tuning.effects import IDLE, Need, find_unmet_need
from dcal.tuning.errors import TuningError
from dcal.tuning.parameters import CategoricalParameter, FloatParameter, Scalar
from dcal.tuning.space import Space, apply, get_value, order_keys, suggest

# The rest of the tree is data, which all trials must share, and what comes after training.
SECTIONS = ("model", "loss", "train", "transforms")
MIN_DRAWS, MAX_DRAWS = 500, 10_000


def check_space(space: Space, base: Config, *, num_blocks: int) -> None:
    """Refuse a space that cannot be searched, or that holds what no trial could tell apart.

    Values are tried as trials will meet them: the ends of every range and every choice, each
    among many draws of the others.

    Args:
        space: What is searched.
        base: The config that trials change.
        num_blocks: Blocks of the backbone, which no branch can exceed.

    Raises:
        TuningError: An unknown key, a condition that cannot hold, a value that the config tree
            refuses, or a key that is searched where it changes nothing.
    """
    if not space:
        raise TuningError("space: expected a key to search at least; got none")
    for key in space:
        _check_key(key, base)
        _check_depth(key, space, num_blocks)
    order_keys(space)
    for key in space:
        _check_conditions(key, space, base)
    _check_draws(space, base)


def require_sections(keys: Iterable[str], sections: Sequence[str], *, place: str) -> None:
    """Refuse keys that trainings which are to be compared must share.

    Raises:
        TuningError: A key of another section of the config tree.
    """
    for key in keys:
        section = key.partition(".")[0]
        if section not in sections and section in Config.model_fields:
            raise TuningError(
                f"{place}: {key}: expected a key of {', '.join(sections)}, because trainings can "
                "only be compared on the same data, seed and scores; params.yaml has the others"
            )


def _check_key(key: str, base: Config) -> None:
    require_sections([key], SECTIONS, place="space")
    if key in IDLE:
        raise TuningError(f"space: {key} changes no score; leave it out of the space")
    try:
        value = get_value(base, key)
    except KeyError:
        raise TuningError(_describe_unknown(key, base)) from None
    if isinstance(value, Section):
        names = ", ".join(f"{key}.{name}" for name, _ in value)
        raise TuningError(f"space: {key}: expected a key, got a section; it has {names}")


def _describe_unknown(key: str, base: Config) -> str:
    try:
        apply(base, {key: None}, origin="space")
    except (ConfigError, TuningError) as error:  # says which key is near
        return str(error).splitlines()[0]
    return f"space: {key}: unknown key"


def _check_depth(key: str, space: Space, num_blocks: int) -> None:
    # GLCA starts from what an SA block puts out, so the first one has none beside it.
    largest = {"model.glca_blocks": num_blocks - 1, "model.pwca_blocks": num_blocks}.get(key)
    if largest is None:
        return
    for value in space[key].list_edges():
        if isinstance(value, (int, float)) and value > largest:
            raise TuningError(
                f"space: {key}: expected at most {largest}, because the backbone has "
                f"{num_blocks} blocks; got {value}"
            )


def _check_conditions(key: str, space: Space, base: Config) -> None:
    for other, values in space[key].when.items():
        place = f"space: {key}: when: {other}"
        if not values:
            raise TuningError(f"{place}: expected a value at least; got none")
        parent = space.get(other)
        if parent is None:
            _check_fixed_condition(place, other, values, base, space)
        elif isinstance(parent, FloatParameter):
            raise TuningError(
                f"{place}: expected a categorical or int parameter, because a number of a range "
                "is never met exactly"
            )
        else:
            foreign = [value for value in values if not parent.holds(value)]
            if foreign:
                raise TuningError(f"{place} never is {foreign[0]!r} in this space")


def _check_fixed_condition(
    place: str, other: str, values: list[Scalar], base: Config, space: Space
) -> None:
    if not _has_key(base, other):
        near = difflib.get_close_matches(other, space, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise TuningError(f"{place} is neither in the space nor in the config{hint}")
    value = get_value(base, other)
    if value not in values:
        raise TuningError(
            f"{place} is not searched and is {value!r} in the config, so {place.split(': ')[1]} "
            "would never be searched"
        )


def _has_key(config: Config, key: str) -> bool:
    try:
        value = get_value(config, key)
    except KeyError:
        return False
    return not isinstance(value, Section)


class _Scout:
    """Suggest the ends of ranges, every choice, and now and then a number between."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        return self.random.choice((low, high))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, **options: Any) -> int:
        inner = self.random.randrange(low, high + 1, step)
        return self.random.choice((low, high, inner))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self.random.choice(choices)


def _check_draws(space: Space, base: Config) -> None:
    unseen = {(key, repr(value)) for key, p in space.items() for value in p.list_edges()}
    scout = _Scout(seed=0)
    for draw in range(MAX_DRAWS):
        if draw >= MIN_DRAWS and not unseen:
            return
        values = suggest(scout, space, base)
        _check_draw(values, space, base)
        unseen -= {(key, repr(value)) for key, value in values.items()}
    key, value = sorted(unseen)[0]
    raise TuningError(f"space: {key}={value} is never tried: its conditions exclude each other")


def _check_draw(values: Mapping[str, Scalar], space: Space, base: Config) -> None:
    try:
        config = apply(base, values, origin="space")
    except ConfigError as error:
        given = ", ".join(f"{key}={value}" for key, value in values.items())
        raise TuningError(f"{str(error).splitlines()[0]} (with {given})") from None
    for key in values:
        need = find_unmet_need(key, config)
        if need:
            raise TuningError(
                f"space: {key} is searched where it changes nothing: {need.reason}. "
                f"{_advise(key, need, space, base)}"
            )


def _advise(key: str, need: Need, space: Space, base: Config) -> str:
    other = next((name for name in need.keys if name in space), None)
    if other is None:
        return f"See that {need.describe()} in params.yaml, or leave {key} out of the space"
    parent = space[other]
    choices = parent.choices if isinstance(parent, CategoricalParameter) else []
    values = [str(value) for value in choices if value in need.values]
    if need.values and not values:
        return f"Leave {key} out of the space, or let {other} be {' or '.join(need.values)}"
    wanted = ", ".join(values) or "every value but 0"
    return f"Give it a condition: when: {{{other}: [{wanted}]}}"
