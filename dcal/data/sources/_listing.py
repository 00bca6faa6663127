"""What lies in a data set's folders, in an order that is the same everywhere (ours)."""

from __future__ import annotations

from pathlib import Path

# Left by file managers and archivers beside the pictures.
HIDDEN_PREFIXES = (".", "__MACOSX")


def list_folders(folder: Path) -> list[str]:
    """Return the names of a folder's own folders, sorted, without hidden ones."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(HIDDEN_PREFIXES)
    )


def find_top(root: Path, names: tuple[str, ...], *, what: str) -> Path:
    """Return the root or the one of its own folders that holds all folders of these names.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several.
    """
    found = list_folders(root)
    places = [root, *(root / name for name in found)]
    tops = [place for place in places if set(names) <= set(list_folders(place))]
    if not tops:
        raise FileNotFoundError(
            f"{root}: expected the folders {', '.join(names)} of {what} there or in one folder; "
            f"found {', '.join(found) or 'no folder'}"
        )
    if len(tops) > 1:
        raise ValueError(
            f"{root}: expected one folder of {what}; found {', '.join(map(str, tops))}; set "
            "dataset.source to one of them"
        )
    return tops[0]


def name_below(path: Path, root: Path) -> str:
    """Return a file's place below the root, with forward slashes.

    Raises:
        ValueError: The name cannot be written down, because it is not UTF-8.
    """
    name = path.relative_to(root).as_posix()
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        raise ValueError(f"{shown}: the file name is not UTF-8; rename the file") from None
    return name
