"""What pydantic finds wrong with a file of ours, in a line a mistake (ours)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dcal.sentences import to_one_line

MAX_LISTED = 20
QUOTE = "'"  # that pydantic puts around a discriminator's name


def describe_errors(error: ValidationError, root: type[BaseModel], *, origin: str) -> str:
    """One line per mistake: the dotted key, what is wrong, and the nearest valid name."""
    lines = []
    details = error.errors()
    for detail in details[:MAX_LISTED]:
        keys, _ = _follow(root, detail["loc"])
        location = ".".join(_show_key(part) for part in keys)
        if detail["type"] == "extra_forbidden":
            message = f"unknown key{_suggestion(root, detail['loc'])}"
        elif detail["type"] == "missing":
            message = "missing"
        elif detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
            context = detail["ctx"]
            location += f".{context['discriminator'].strip(QUOTE)}"
            message = "missing"
            if "tag" in context:
                message = f"expected one of {context['expected_tags']}; got {_show(context['tag'])}"
        elif detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
            message = f"expected keys with values; got {_show(detail['input'])}"[:400]
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
    _, end = _follow(root, parents)
    return end if _is_section(end) else None


def _follow(root: type[BaseModel], location: Sequence[int | str]) -> tuple[list[int | str], Any]:
    """Return the keys of a location as they are in the file, and the type at its end.

    Between a key whose value is one of several sections and the keys of that section, pydantic has
    the tag that chose it.
    """
    keys: list[int | str] = []
    place: Any = root
    for part in location:
        if get_origin(place) is Annotated:
            place = get_args(place)[0]
        chosen = [member for member in get_args(place) if part in _list_tags(member)]
        if chosen:
            place = chosen[0]
            continue
        keys.append(part)
        if _is_section(place):
            field = place.model_fields.get(str(part))
            place = _without_null(field.annotation) if field else None
        else:
            place = get_args(place)[-1] if get_origin(place) in (dict, list) else None
    return keys, place


def _without_null(annotation: Any) -> Any:
    """Return the section of `Section | None`, and any other annotation as it is."""
    members = [member for member in get_args(annotation) if member is not type(None)]
    return members[0] if len(members) == 1 and _is_section(members[0]) else annotation


def _list_tags(member: Any) -> list[Any]:
    fields = member.model_fields.values() if _is_section(member) else ()
    literals = (field.annotation for field in fields if get_origin(field.annotation) is Literal)
    return [tag for literal in literals for tag in get_args(literal)]


def _is_section(value: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(value, type) and issubclass(value, BaseModel)


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
        below = _without_null(field.annotation)
        if _is_section(below):
            yield from _dotted_keys(below, f"{prefix}{name}.")


def name_keys(section: type[BaseModel]) -> str:
    """List a section's keys."""
    return ", ".join(section.model_fields)
