"""What a picture is called below itself: as much of its path as tells it from others (ours)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

MAX_CHARACTERS = 23  # of a line below a picture
_DOTS = "..."
_MIN_PART = 4  # characters kept at either end
# Identity and camera, by which names of Re-ID sets start: 0002_c1s1_000451_03.jpg.
_START = re.compile(r"-?\d+_c-?\d+")


def label_paths(paths: Iterable[str]) -> dict[str, str]:
    """Name each path by its file and by as many folders above it as the others make needed.

    Long ones are cut so that they still differ, where one cut of `MAX_CHARACTERS` can do that.
    """
    names = _find_endings(sorted(set(paths)))
    labels = {path: shorten(name) for path, name in names.items()}
    for head in range(MAX_CHARACTERS - len(_DOTS) - _MIN_PART, _MIN_PART - 1, -1):
        counts = Counter(labels.values())
        same = [path for path, label in labels.items() if counts[label] > 1]
        if not same:
            break
        labels |= {path: _cut(names[path], head, MAX_CHARACTERS) for path in same}
    return labels


def shorten(name: str, *, length: int = MAX_CHARACTERS) -> str:
    """Cut a long name in its middle; of a Re-ID picture identity and camera stay."""
    start = _START.match(name)
    head = max((length - len(_DOTS)) // 2, start.end() if start else 0)
    return _cut(name, min(head, length - len(_DOTS) - _MIN_PART), length)


def _cut(name: str, head: int, length: int) -> str:
    if len(name) <= length:
        return name
    return f"{name[:head]}{_DOTS}{name[len(name) - (length - len(_DOTS) - head) :]}"


def _find_endings(paths: list[str]) -> Mapping[str, str]:
    """Return the shortest ending of each path, whole parts of it, that no other path has."""
    endings = {path: _list_endings(path) for path in paths}
    counts = Counter(ending for those in endings.values() for ending in those)
    return {
        path: next((ending for ending in those if counts[ending] == 1), path)
        for path, those in endings.items()
    }


def _list_endings(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[-depth:]) for depth in range(1, len(parts) + 1)]
