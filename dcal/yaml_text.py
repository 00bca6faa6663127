"""YAML from people's hands: any text gives a value or one error, and soon (ours)."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    NodeEvent,
)

from dcal.sentences import to_one_line

# Far more than a params.yaml needs, far less than takes a second.
MAX_CHARACTERS = 1 << 16
MAX_DEPTH = 16


class YAMLTextError(ValueError):
    """A text that cannot be read; the message is one sentence without the file's name."""


def parse_yaml(text: str) -> Any:
    """Read one YAML 1.2 document (so 1e-3 is a number).

    Raises:
        YAMLTextError: No valid YAML, a duplicate key, anchors, or far too long or too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise YAMLTextError(f"expected at most {MAX_CHARACTERS} characters, got {len(text)}")
    try:
        _check_shape(text)
        return YAML(typ="safe", pure=True).load(text)
    except YAMLTextError:
        raise
    except MarkedYAMLError as error:
        raise YAMLTextError(_describe(error)) from None
    # The constructors let out whatever a strange scalar causes: ValueError, AttributeError, ...
    except Exception as error:
        reason = to_one_line(str(error)) or type(error).__name__
        raise YAMLTextError(f"not a valid YAML file: {reason}") from None


def _check_shape(text: str) -> None:
    # Events come one by one and without recursion, so this ends before depth or aliases hurt.
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            raise YAMLTextError(
                f"anchors and aliases are not read, got {event.anchor!r}; write the value out"
            )
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise YAMLTextError(f"nested more than {MAX_DEPTH} levels deep")


def _describe(error: MarkedYAMLError) -> str:
    problem = to_one_line(error.problem or str(error))
    if "'\\t'" in problem:
        problem += "; indent with blanks instead of tabs"
    mark = error.problem_mark or error.context_mark
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"not a valid YAML file: {problem}{place}"
