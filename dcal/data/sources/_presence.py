"""What official lists name, against what lies in the folders (ours)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dcal.data.images import PICTURE_SUFFIXES
from dcal.data.sources._listing import HIDDEN_PREFIXES
from dcal.data.sources._naming import require_allowed


def keep_present(
    table: pd.DataFrame, root: Path, folders: Mapping[Path, int], *, allow_partial: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows whose picture is there, and say what else is there or missing.

    `folders` are those that the pictures lie in, with how many folders deep they lie.

    Raises:
        FileNotFoundError: One of the folders is not there.
        ValueError: Pictures are missing, and `allow_partial` is false.
    """
    there: set[str] = set()
    for folder, depth in folders.items():
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: expected the folder of the set's pictures")
        prefix = folder.relative_to(root).as_posix()
        there |= {f"{prefix}/{name}" for name in _list_pictures(folder, depth=depth)}
    # Not isin, which cannot take the names of strays that are no UTF-8.
    is_there = pd.Series([path in there for path in table["path"]], dtype=bool)
    warnings = require_allowed(
        "are in the official lists and not in their folder",
        sorted(table.loc[~is_there, "path"]),
        num_pictures=len(table),
        allow_partial=allow_partial,
    )
    num_strays = len(there.difference(table["path"]))
    if num_strays:
        warnings.append(f"ignored (pictures that no official list names): {num_strays}")
    return table[is_there].reset_index(drop=True), warnings


def _list_pictures(folder: Path, *, depth: int) -> set[str]:
    """Return the places of all pictures so many folders below, with forward slashes.

    Each folder is read once, because a look at each of 100,000 files takes minutes on a network
    disk. Links are followed; one that leads to itself ends at `depth`.
    """
    found: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN_PREFIXES):
                continue
            if not depth:
                if entry.name.lower().endswith(PICTURE_SUFFIXES):
                    found.add(entry.name)
            elif os.path.isdir(entry.path):
                below = _list_pictures(Path(entry.path), depth=depth - 1)
                found |= {f"{entry.name}/{name}" for name in below}
    return found
