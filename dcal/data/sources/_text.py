"""Official lists: plain text, a record a line (ours)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_WHOLE = 2**63 - 1
MAX_DIGITS = 19


def read_lines(path: Path, *, of: str) -> list[str]:
    """Read a list's lines without the blanks around them; empty ones are left out.

    Raises:
        FileNotFoundError: No such file; `of` is the set that it is part of.
        ValueError: It is not UTF-8 text.
    """
    return [line for _, line in iterate_lines(path, of=of)]


def iterate_lines(path: Path, *, of: str) -> Iterator[tuple[int, str]]:
    """Do so with the number of each line, from 1.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is not UTF-8 text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; it is part of {of}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; byte {error.start} is none") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def require_below(name: str, *, place: str) -> str:
    """Return the path that an official file names, if it stays below its folder.

    Raises:
        ValueError: It is absolute, climbs out, or holds a character that no path has.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError(f"{place}: expected a path below the set's folder; got {name[:80]!r}")
    return path.as_posix()


def parse_whole(text: str, *, place: str, at_least: int, at_most: int = MAX_WHOLE) -> int:
    """Return the whole number that a field holds.

    Raises:
        ValueError: It is none, or outside these bounds.
    """
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    # Not int() alone, which takes 1_0 and the digits of other scripts too.
    is_whole = digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS
    if not is_whole or not at_least <= int(sign + digits) <= at_most:
        upper = f" to {at_most}" if at_most != MAX_WHOLE else ""
        raise ValueError(
            f"{place}: expected a whole number from {at_least}{upper}; got {text[:80]!r}"
        )
    return int(sign + digits)


def parse_decimal(text: str, *, place: str) -> float:
    """Return the number that a field holds.

    Raises:
        ValueError: It is none, or not a finite one.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{place}: expected a number; got {text[:80]!r}")
    return number
