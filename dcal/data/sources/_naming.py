"""Identity and camera out of a file name, as Market-1501 and the sets after it write them.

    0001_c1s1_001051_00.jpg   0005_c2_f0046985.jpg   0001_c1_1.png   0002_c002_00030600_0.jpg

Source: Market-1501's readme; the pattern takes cameras of any number of digits, which `_c(\\d)`
would cut: it reads VeRi-776's twenty cameras as three.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dcal.data.identities import JUNK
from dcal.data.partial import LEFT_OUT
from dcal.data.sources._listing import name_below

MAX_IDENTITY = 2**63 - 1
_PATTERN = re.compile(r"(-?[0-9]+)_c(-1|[0-9]+)(?:s[0-9]+)?[_.]")
MAX_LISTED = 5


class NamedPicture(NamedTuple):
    """What a file name says."""

    identity: int
    camera: int | None  # None = not known, which the name says as c-1


def parse_name(name: str) -> NamedPicture | None:
    """Read a file name; None = not a name of this kind."""
    match = _PATTERN.match(name)
    if match is None:
        return None
    identity, camera = int(match[1]), int(match[2])
    if camera == 0 or not JUNK <= identity <= MAX_IDENTITY or camera > MAX_IDENTITY:
        return None
    return NamedPicture(identity, None if camera == -1 else camera)


def tabulate_names(
    paths: Iterable[Path], *, split: str, root: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Return one row a picture (path, split, identity, camera), and the paths of other names."""
    rows: list[tuple[str, int, int | None]] = []
    unnamed = []
    for path in paths:
        relative = name_below(path, root)
        picture = parse_name(path.name)
        if picture is None:
            unnamed.append(relative)
        else:
            rows.append((relative, picture.identity, picture.camera))
    table = pd.DataFrame(
        {
            "path": pd.array([row[0] for row in rows], dtype="str"),
            "split": split,
            # Not through floats, which pandas makes of numbers beside None: they lose large ones.
            "identity": pd.array([row[1] for row in rows], dtype="Int64"),
            "camera": pd.array([row[2] for row in rows], dtype="Int64"),
        }
    )
    return table, unnamed


def require_allowed(
    what: str, paths: list[str], *, num_pictures: int, allow_partial: bool
) -> list[str]:
    """Return a warning that pictures are left out, or refuse them; nothing where there are none.

    Raises:
        ValueError: There are some, and `dataset.allow_partial` is false.
    """
    if not paths:
        return []
    more = f"; and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
    said = f"{len(paths)} of {num_pictures} pictures {what}: {'; '.join(paths[:MAX_LISTED])}{more}"
    if not allow_partial:
        raise ValueError(
            f"{said}. Set it right, or set dataset.allow_partial to true to do without"
        )
    return [f"{LEFT_OUT} {said}"]
