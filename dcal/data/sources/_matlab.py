"""Annotation in MATLAB files of version 5, read by scipy and believed in nothing (ours)."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

READER = Path(__file__).with_name("_matlab_reader.py")
# The largest official one has 16,185 records in less than half a megabyte.
MAX_BYTES = 1 << 26
MAX_SECONDS = 300.0
MAX_WHOLE = 1 << 31


class Variable(NamedTuple):
    """A variable of a file: structs of these fields or, without fields, a list of texts."""

    path: Path
    name: str
    fields: tuple[str, ...] = ()


class Record:
    """One struct of an array of structs, whose fields are read as what they should be."""

    def __init__(self, values: dict[str, Any], *, place: str) -> None:
        self._values = values
        self._place = place

    def read_whole(
        self, field: str, *, at_least: int = -MAX_WHOLE, at_most: int = MAX_WHOLE
    ) -> int:
        """Return a whole number.

        Raises:
            ValueError: The field is none, or one outside these bounds.
        """
        value = self._values[field]
        number = value if isinstance(value, (int, float)) else math.nan
        if not at_least <= number <= at_most or number != int(number):
            raise ValueError(
                f"{self._place}: expected a whole number from {at_least} to {at_most} in {field}; "
                f"got {value!r:.80}"
            )
        return int(number)

    def read_file_name(self, field: str) -> str:
        """Return the last part of a path.

        Raises:
            ValueError: The field is no text, or a path without a last part.
        """
        value = self._values[field]
        if not isinstance(value, str):
            raise ValueError(f"{self._place}: expected a text in {field}; got {value!r:.80}")
        name = value.replace("\\", "/").rpartition("/")[2]
        if name in ("", ".", "..") or not name.isprintable():
            raise ValueError(f"{self._place}: expected a file name in {field}; got {value!r:.80}")
        return name


def read_variables(wanted: Sequence[Variable]) -> list[list[Any]]:
    """Return the records, or texts, of each variable.

    Raises:
        ValueError: A file that is not a MATLAB file of version 5, or damaged, or one without that
            variable and its fields.
    """
    for path in {variable.path for variable in wanted}:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path}: expected a list of records; it is far too large for one")
    # Of a reader that fails, the answers to what stands before the failing file have come.
    answers = _ask(wanted)
    found = [_check(variable, answer) for variable, answer in zip(wanted, answers, strict=False)]
    if len(answers) < len(wanted):
        raise ValueError(
            f"{wanted[len(answers)].path}: not a MATLAB file of version 5, or damaged; get it again"
        )
    return found


def _ask(wanted: Sequence[Variable]) -> list[dict[str, Any]]:
    arguments = [text for variable in wanted for text in (str(variable.path), variable.name)]
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(READER), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Threads that wait for products of matrices would take address space for nothing.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            timeout=MAX_SECONDS,
        )
        said = done.stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
    return [json.loads(line) for line in said.split(b"\n")[:-1]]


def _check(variable: Variable, answer: dict[str, Any]) -> list[Any]:
    path, name, fields = variable
    if "rows" not in answer:
        others = ", ".join(map(repr, answer["variables"][:10]))
        raise ValueError(f"{path}: expected the variable {name}; got {others}")
    rows = answer["rows"]
    if not fields:
        if not rows or not all(isinstance(row, str) and row for row in rows):
            raise ValueError(f"{path}: expected a list of texts in {name}")
        return list(rows)
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    missing = [field for field in fields if field not in first]
    if missing:
        raise ValueError(
            f"{path}: expected records with {', '.join(fields)} in {name}; "
            f"{', '.join(missing)} is missing"
        )
    return [
        Record(row, place=f"{path}, record {number}") for number, row in enumerate(rows, start=1)
    ]
