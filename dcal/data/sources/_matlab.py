"""Annotation in MATLAB files of version 5, read by scipy and believed in nothing (ours)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

# The largest official one has 16,185 records in less than half a megabyte.
MAX_BYTES = 1 << 26
MAX_RECORDS = 1 << 20
MAX_WHOLE = 1 << 31


class Record:
    """One struct of an array of structs, whose fields are read as what they should be."""

    def __init__(self, values: Any, *, place: str) -> None:
        self._values = values
        self._place = place

    def read_whole(
        self, field: str, *, at_least: int = -MAX_WHOLE, at_most: int = MAX_WHOLE
    ) -> int:
        """Return a whole number, as int: the file's own type may be of one byte.

        Raises:
            ValueError: The field is none, or one outside these bounds.
        """
        value = self._read(field)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        if not (at_least <= number <= at_most) or number != int(number):
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
        name = self._read_text(field).replace("\\", "/").rpartition("/")[2]
        if name in ("", ".", "..") or "\0" in name:
            raise ValueError(f"{self._place}: expected a file name in {field}; got {name!r:.80}")
        return name

    def _read_text(self, field: str) -> str:
        value = self._read(field)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{self._place}: expected a text in {field}; got {value!r:.80}")
        return value

    def _read(self, field: str) -> Any:
        value = np.asarray(self._values[field])
        return value.item() if value.size == 1 else None


def read_records(path: Path, variable: str, fields: tuple[str, ...], *, of: str) -> list[Record]:
    """Read an array of structs that have at least these fields.

    Raises:
        FileNotFoundError: No such file; `of` is the set that it is part of.
        ValueError: Not a MATLAB file of version 5, or without that variable and these fields.
    """
    values = np.atleast_1d(_load(path, variable, of=of)).ravel()
    names = values.dtype.names or ()
    missing = [field for field in fields if field not in names]
    if missing:
        raise ValueError(
            f"{path}: expected records with {', '.join(fields)} in {variable}; "
            f"{', '.join(missing)} is missing"
        )
    return [
        Record(value, place=f"{path}, record {number}")
        for number, value in enumerate(values, start=1)
    ]


def read_names(path: Path, variable: str, *, of: str) -> list[str]:
    """Read a cell array of texts.

    Raises:
        FileNotFoundError: No such file; `of` is the set that it is part of.
        ValueError: Not a MATLAB file of version 5, or without that variable, or not of texts.
    """
    values = np.atleast_1d(_load(path, variable, of=of)).ravel().tolist()
    if not values or not all(isinstance(value, str) and value for value in values):
        raise ValueError(f"{path}: expected a list of texts in {variable}")
    return values


def _load(path: Path, variable: str, *, of: str) -> Any:
    from scipy.io import loadmat, whosmat

    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; it is part of {of}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected a list of {of}; it is far too large for one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Shapes first, because a damaged one would be made room for before it is noticed.
            shapes = {name: shape for name, shape, _ in whosmat(path)}
            if np.prod([float(length) for length in shapes.get(variable, (0,))]) > MAX_RECORDS:
                raise ValueError("too many records")
            content = loadmat(path, variable_names=[variable], squeeze_me=True)
    # What the reader lets out on damaged bytes is anything: TypeError, KeyError, MemoryError, ...
    except Exception as error:
        raise ValueError(
            f"{path}: not a MATLAB file of version 5, or damaged ({type(error).__name__}); get it "
            "again"
        ) from error
    if variable not in content:
        raise ValueError(f"{path}: expected the variable {variable}; got {', '.join(shapes)}")
    return content[variable]
