"""Views of VeRi-776's vehicles, from public lists of their key points (Wang et al. 2017).

A line is a file name, 20 key points as x y (-1 = not seen) and the view, 0 to 7. The lists are no
part of VeRi-776; one of them has 500 of its lines twice.
"""

from __future__ import annotations

from pathlib import Path

from dcal.paths import work_root
from dcal.sentences import to_one_line

NUM_FIELDS = 42
NUM_VIEWS = 8


def find_lists(path: str, top: Path) -> list[Path]:
    """Return the list of that name, or all .txt of the folder of that name.

    Raises:
        FileNotFoundError: There is none, neither below `top` nor from the project's folder.
    """
    for base in (top, Path.cwd(), work_root()):
        place = base / Path(path).expanduser()
        if place.is_file():
            return [place]
        if lists := sorted(place.glob("*.txt")):
            return lists
    raise FileNotFoundError(
        f"dataset.options.views: expected a list of key points, or a folder of such .txt; {path} "
        "does not exist (a relative path starts at the data set's or at the project's folder)"
    )


def read_views(lists: list[Path]) -> dict[str, int]:
    """Return the view of every picture named, by file name.

    Raises:
        ValueError: A line of another form, or two lines that give a picture two views.
    """
    views: dict[str, int] = {}
    for path in lists:
        text = path.read_text(encoding="utf-8-sig", errors="backslashreplace")
        for number, line in enumerate(text.splitlines(), start=1):
            fields = line.split()
            if not fields:
                continue
            # Some copies name the folder too.
            name = fields[0].replace("\\", "/").rpartition("/")[2]
            is_view = len(fields) == NUM_FIELDS and fields[-1] in map(str, range(NUM_VIEWS))
            if not is_view or views.get(name, int(fields[-1])) != int(fields[-1]):
                raise ValueError(
                    f"{path}:{number}: expected {NUM_FIELDS} fields that end with one view, 0 to "
                    f"{NUM_VIEWS - 1}, the same wherever {to_one_line(name[:80])} is named; got "
                    f"{len(fields)} fields that end with {to_one_line(fields[-1][:80])}"
                )
            views[name] = int(fields[-1])
    return views
