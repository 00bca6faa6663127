"""What lies in a data set's folders, in an order that is the same everywhere (ours)."""

from __future__ import annotations

from pathlib import Path

from dcal.data.archives import is_archive
from dcal.data.images import PICTURE_SUFFIXES

MAX_SHOWN = 10
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
    """Return the folder that holds all folders of these names; see `find_any_top`."""
    return find_any_top(root, (names,), what=what)


def find_any_top(root: Path, layouts: tuple[tuple[str, ...], ...], *, what: str) -> Path:
    """Return the folder that holds all folders of one of the layouts.

    That is the root, one of its own folders, or a folder in a folder of the same name, as some
    archives make when they are unpacked into a folder named after them.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several.
    """
    found = list_folders(root)
    places = [root, *(root / name for name in found)]
    places += [root / name / name for name in found if (root / name / name).is_dir()]
    tops = [
        place
        for place in places
        if any(set(names) <= set(list_folders(place)) for names in layouts)
    ]
    if not tops:
        wanted = ", or ".join(", ".join(names) for names in layouts)
        archives = sorted(path.name for path in root.iterdir() if is_archive(path))
        hint = f"; to unpack {archives[0]}, set dataset.source to it" if archives else ""
        raise FileNotFoundError(
            f"{root}: expected the folders {wanted} of {what} there or in one folder; "
            f"found {_show(found)}{hint}"
        )
    if len(tops) > 1:
        raise ValueError(
            f"{root}: expected one folder of {what}; found {', '.join(map(str, tops))}; set "
            "dataset.source to one of them"
        )
    return tops[0]


def undouble(folder: Path) -> Path:
    """Return the folder of the same name inside, where there is one, as in cars_train/cars_train.

    Raises:
        ValueError: Both hold pictures.
    """
    inner = folder / folder.name
    if not inner.is_dir():
        return folder
    if any(path.name.lower().endswith(PICTURE_SUFFIXES) for path in folder.iterdir()):
        raise ValueError(
            f"{folder}: expected pictures there or in {inner.name}/ inside it; found both, and "
            "cannot tell which are the set's: remove one"
        )
    return inner


def _show(names: list[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return (", ".join(names[:MAX_SHOWN]) or "no folder") + more


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
