"""From a trial to a config: which keys are searched, in which order, and what they give (ours)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dcal.config import Config, Section, parse_config
from dcal.tuning.errors import TuningError
from dcal.tuning.parameters import Parameter, Scalar, Suggesting

Space = Mapping[str, Parameter]  # by the dotted key of params.yaml
Overrides = dict[str, Scalar]


def suggest(trial: Suggesting, space: Space, base: Config) -> Overrides:
    """Return a value for each key that is searched, given the values of the keys before it.

    A key whose `when` does not hold is left out, so that the config keeps its own value.
    """
    values: Overrides = {}
    for key in order_keys(space):
        if is_searched(key, values, space=space, base=base):
            values[key] = space[key].suggest(trial, key)
    return values


def is_searched(key: str, values: Mapping[str, Scalar], *, space: Space, base: Config) -> bool:
    """Say whether the conditions of a key hold under the values suggested before it."""
    for other, allowed in space[key].when.items():
        if other in space and other not in values:
            return False  # not searched itself
        value = values[other] if other in space else get_value(base, other)
        if value not in allowed:
            return False
    return True


def apply(base: Config, overrides: Mapping[str, Scalar], *, origin: str = "trial") -> Config:
    """Return the config with other values; the base is left as it is.

    Raises:
        ConfigError: The tree refuses a key or a value; the message begins with `origin`.
    """
    tree = base.model_dump(mode="json")
    for key, value in overrides.items():
        *parents, last = key.split(".")
        section: Any = tree
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise TuningError(f"{origin}: {key}: {parent} is not a section")
        section[last] = value
    return parse_config(tree, origin=origin)


def get_value(config: Config, key: str) -> Any:
    """Return the value of a dotted key.

    Raises:
        KeyError: There is no such key.
    """
    node: Any = config
    for part in key.split("."):
        fields = node if isinstance(node, dict) else dict(node) if isinstance(node, Section) else {}
        node = fields[part]
    return node


def order_keys(space: Space) -> list[str]:
    """Return the keys so that each comes after those that its conditions name.

    Raises:
        TuningError: Conditions go round in a circle.
    """
    ordered: list[str] = []
    for key in space:
        for found in _visit(key, space, ()):
            if found not in ordered:
                ordered.append(found)
    return ordered


def _visit(key: str, space: Space, path: tuple[str, ...]) -> Iterator[str]:
    if key in path:
        circle = " -> ".join([*path[path.index(key) :], key])
        raise TuningError(f"space: the conditions go round in a circle: {circle}")
    for parent in space[key].when:
        if parent in space:
            yield from _visit(parent, space, (*path, key))
    yield key
