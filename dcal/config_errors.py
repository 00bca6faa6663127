"""What pydantic finds wrong with a file of ours, in a line a mistake (ours)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from dcal.sentences import to_one_line

MAX_LISTED = 20


def describe_errors(error: ValidationError, root: type[BaseModel], *, origin: str) -> str:
    """One line per mistake: the dotted key, what is wrong, and the nearest valid name."""
    lines = []
    details = error.errors()
    for detail in details[:MAX_LISTED]:
        location = ".".join(_show_key(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            message = f"unknown key{_suggestion(root, detail['loc'])}"
        elif detail["type"] == "missing":
            message = "missing"
        else:
            message = f"{_plain(detail['msg'])}; got {_show(detail['input'])}"[:400]
        if not location:
            lines.append(f"{origin}: {_plain(detail['msg'])}")
        else:
            lines.append(f"{origin}: {location}: {message}")
    if len(details) > MAX_LISTED:
        lines.append(f"{origin}: and {len(details) - MAX_LISTED} more")
    return "\n".join(lines)


def _show(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number too long to be shown"


def _show_key(part: int | str) -> str:
    return to_one_line(str(part), max_characters=80)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "should")


def find_section(root: type[BaseModel], parents: Sequence[int | str]) -> type[BaseModel] | None:
    """Return the section that a path of keys leads to; None where it leads to none."""
    section = root
    for part in parents:
        field = section.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        section = annotation
    return section


def _suggestion(root: type[BaseModel], location: Sequence[int | str]) -> str:
    section = find_section(root, location[:-1])
    if section is None:
        return ""
    wrong = str(location[-1])
    near = difflib.get_close_matches(wrong, list(section.model_fields), n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    elsewhere = [key for key in _dotted_keys(root) if key.rsplit(".", 1)[-1] == wrong]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return (
        f"; valid keys here: {name_keys(section)}"
        if section.model_fields
        else "; no key is valid here"
    )


def _dotted_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _dotted_keys(field.annotation, f"{prefix}{name}.")


def name_keys(section: type[BaseModel]) -> str:
    """List a section's keys."""
    return ", ".join(section.model_fields)
