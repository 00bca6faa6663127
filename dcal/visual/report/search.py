"""What a search found, as a page: each query beside the nearest pictures, ranked (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dcal.visual.report.attachments import attach_csv
from dcal.visual.report.templates import fill
from dcal.visual.thumbnails import make_thumbnail

# That are shown; with more the page would grow too large to be sent.
MAX_QUERIES = 50
MAX_ANSWERS = 50  # to each


def render_search(table: pd.DataFrame, *, pictures_folder: Path, title: str, lead: str) -> str:
    """Return up to 50 answers to each of up to 50 queries as an HTML page that needs no other file.

    A picture of the gallery that is gone or damaged since it was embedded is told in its place. The
    CSV on the page holds the answers to all queries.

    Args:
        table: Of a `SearchResult`: query, rank, name, distance, cosine.
        pictures_folder: What the names start from.
        title: Of the page.
        lead: The sentence below it.

    Raises:
        FileNotFoundError, OSError: A query is gone or damaged.
    """
    groups = list(table.groupby("query", sort=False))
    lists = [_build_list(str(query), part, pictures_folder) for query, part in groups[:MAX_QUERIES]]
    told = table.assign(query=table["query"].map(hide_folders))
    return fill(
        "search.html",
        title=title,
        lead=lead,
        lists=lists,
        num_more=len(groups) - len(lists),
        csv_file=attach_csv("answers.csv", told),
    )


def _build_list(query: str, answers: pd.DataFrame, folder: Path) -> dict[str, Any]:
    name = hide_folders(query)
    return {
        "name": name,
        "query": make_thumbnail(Path(query)),
        "alt": f"Query {name}",
        "answers": [
            _build_answer(row, name, folder) for row in answers.head(MAX_ANSWERS).to_dict("records")
        ],
        "num_more": max(0, len(answers) - MAX_ANSWERS),
    }


def hide_folders(query: str) -> str:
    """Leave out where on this machine a picture lies, but for its own folder; the page is sent."""
    path = Path(query)
    is_elsewhere = path.is_absolute() or ".." in path.parts
    return f".../{path.parent.name}/{path.name}" if is_elsewhere else query


def _build_answer(row: dict[Any, Any], query: str, folder: Path) -> dict[str, Any]:
    try:
        picture = make_thumbnail(folder / row["name"])
        gone = ""
    except FileNotFoundError:
        picture, gone = None, "no longer there"
    except OSError:
        picture, gone = None, "can no longer be read"
    return {
        "picture": picture,
        "gone": gone,
        "alt": f"Answer {row['rank']} to {query}: {row['name']}",
        "rank": row["rank"],
        "name": row["name"],
        "distance": f"{row['distance']:.3f}",
        "cosine": f"{row['cosine']:.3f}",
    }
