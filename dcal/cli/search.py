"""`dcal search`: the pictures of a gallery that are nearest to given ones (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcal.cli.embed import DeviceName
from dcal.cli.terminal import PICTURES_HELP, choose_device, require_parent, show_progress, speaking

if TYPE_CHECKING:
    import pandas as pd

    from dcal.inference.gallery_search import SearchResult

_MAX_SHOWN = 5  # queries in the terminal where all are written to a file
_MAX_DRAWN = 8
_GOOD_RECALL = 0.95


def search(
    gallery: Annotated[Path, typer.Argument(help="What dcal embed wrote.")],
    query: Annotated[
        list[str],
        typer.Argument(help=PICTURES_HELP),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The model that wrote the gallery. Default: where it was then."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Answers for each query.")] = 10,
    output: Annotated[
        Path | None,
        typer.Option(help="Write all answers as CSV: query, rank, name, distance, cosine."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help=f"Draw the first {_MAX_DRAWN} queries beside their answers (.png)."),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--approximate",
            help="Compare with every picture, or by a FAISS graph; the latter's recall is told. "
            "Default: exact up to 500,000 pictures.",
        ),
    ] = None,
    allow_partial: Annotated[
        bool,
        typer.Option("--allow-partial", help="Leave out queries that cannot be decoded."),
    ] = False,
    device: Annotated[
        DeviceName, typer.Option(help="auto takes a GPU where there is one.")
    ] = DeviceName.AUTO,
) -> None:
    """Find the pictures of GALLERY that look most like each QUERY.

    The distance is the squared Euclidean one between embeddings: 0 for the same picture, 2 for
    unrelated ones, 4 at most; the cosine is 1 less half of it.

    Example: dcal search photos.gallery new.jpg --picture found.png
    """
    with speaking():
        require_parent(output, option="--output")
        require_parent(picture, option="--picture")

        from dcal.inference.gallery_search import list_queries, search_gallery
        from dcal.inference.opening import find_model

        if picture is not None:
            _require_drawable(picture)
        queries = list_queries(query)
        with show_progress() as report:
            result = search_gallery(
                gallery, queries, device=choose_device(device), num=top,
                model_path=None if model is None else find_model(model),
                method="auto" if exact is None else "exact" if exact else "approximate",
                allow_partial=allow_partial, on_progress=report,
            )  # fmt: skip
        _tell(result, num_shown=len(queries) if output is None else _MAX_SHOWN)
        if output is not None:
            _write_csv(output, result)
        if picture is not None:
            _draw(picture, result)


def _tell(result: SearchResult, *, num_shown: int) -> None:
    from rich.console import Console

    console = Console()
    groups = list(result.table.groupby("query", sort=False))
    for name, answers in groups[:num_shown]:
        console.print(_build_table(str(name), answers))
    if len(groups) > num_shown:
        typer.echo(f"and the answers to {len(groups) - num_shown} more queries")
    if result.left_out:
        typer.echo(f"left out, because they cannot be decoded: {len(result.left_out)}")
    card = result.gallery.card
    if card.num_waiting:
        typer.echo(
            f"warning: the gallery still lacks {card.num_waiting} pictures, because dcal embed was "
            "interrupted; run it again",
            err=True,
        )
    how = f"{len(result.gallery)} pictures searched exactly"
    if result.recall is not None:
        how = (
            f"{len(result.gallery)} pictures searched approximately: of what an exact search finds "
            f"{result.recall:.1%} were found (recall on {result.num_recall_queries} of "
            f"{len(groups)} queries)"
        )
        how += "; --exact finds all" if result.recall < _GOOD_RECALL else ""
    typer.echo(how)


def _build_table(query: str, answers: pd.DataFrame) -> object:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(query), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("rank", justify="right")
    table.add_column("picture", overflow="fold")
    table.add_column("distance", justify="right")
    table.add_column("cosine", justify="right")
    for row in answers.to_dict("records"):
        table.add_row(
            str(row["rank"]), escape(row["name"]), f"{row['distance']:.4f}", f"{row['cosine']:.4f}"
        )
    return table


def _write_csv(path: Path, result: SearchResult) -> None:
    from dcal.paths import write_atomically

    with write_atomically(path) as temporary:
        result.table.to_csv(temporary, index=False, float_format="%.6f")
    typer.echo(f"{path}: {len(result.table)} answers")


def _require_drawable(path: Path) -> None:
    """Say at once, not after the search, that a figure cannot be written."""
    from dcal.visual.ranked_lists import require_drawable

    require_drawable(path)


def _draw(path: Path, result: SearchResult) -> None:
    from dcal.visual.ranked_lists import build_search_lists, draw_ranked_lists, save_figure

    lists = build_search_lists(
        result.table, gallery_root=result.gallery.pictures_folder, num_queries=_MAX_DRAWN
    )
    save_figure(path, draw_ranked_lists(lists))
    typer.echo(f"{path}: queries drawn: {len(lists)}")
