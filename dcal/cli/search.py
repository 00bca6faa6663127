"""`dcal search`: the pictures of a gallery that are nearest to given ones (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcal.cli.embed import DeviceName
from dcal.cli.terminal import (
    ALLOW_PARTIAL_HELP,
    PICTURES_HELP,
    choose_device,
    end_where_left_out,
    require_parent,
    show_progress,
    speaking,
)

if TYPE_CHECKING:
    import pandas as pd

    from dcal.inference.gallery_search import SearchResult

_MAX_SHOWN = 5  # queries in the terminal where all are written to a file
_MAX_DRAWN = 8
_GOOD_RECALL = 0.95


def search(
    gallery: Annotated[
        Path,
        typer.Argument(
            help="What dcal embed wrote; or a folder of pictures, which --model then embeds for "
            "this one search."
        ),
    ],
    query: Annotated[
        list[str],
        typer.Argument(help=PICTURES_HELP),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="The model that wrote the gallery (default: where it was then), or that embeds "
            "the folder."
        ),
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
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write a page (.html) of the queries and their answers, with small copies of the "
            "pictures in it: for whoever it may be sent to."
        ),
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
        typer.Option("--allow-partial", help=ALLOW_PARTIAL_HELP),
    ] = False,
    device: Annotated[
        DeviceName, typer.Option(help="auto takes a GPU where there is one.")
    ] = DeviceName.AUTO,
) -> None:
    """Find the pictures of GALLERY that look most like each QUERY.

    The distance is the squared Euclidean one between embeddings: 0 for the same picture, 2 for
    unrelated ones, 4 at most; the cosine is 1 less half of it. Pictures that cannot be decoded are
    named and left out, and the status is then 1; the rest is done.

    Example: dcal search photos.gallery new.jpg --page found.html
    """
    with speaking():
        require_parent(output, option="--output")
        require_parent(picture, option="--picture")
        require_parent(page, option="--page")
        _require_html(page)

        from dcal.inference.folder_gallery import open_place
        from dcal.inference.gallery_search import search_gallery
        from dcal.inference.opening import find_model
        from dcal.inference.own_pictures import find_pictures

        if picture is not None:
            _require_drawable(picture)
        unnamed: list[str] = []
        queries = find_pictures(query, unnamed=unnamed)
        options: dict[str, Any] = {
            "model_path": None if model is None else find_model(model),
            "device": choose_device(device),
            "allow_partial": True,  # the status tells of it
        }
        with (
            show_progress() as report,
            open_place(gallery, on_progress=report, **options) as (place, embedded),
        ):
            result = search_gallery(
                place, queries, num=top, on_progress=report, **options,
                method="auto" if exact is None else "exact" if exact else "approximate",
            )  # fmt: skip
        _tell(result, num_shown=len(queries) if output is None else _MAX_SHOWN)
        if output is not None:
            _write_csv(output, result)
        if picture is not None:
            _draw(picture, result)
        if page is not None:
            _write_page(page, result, name=gallery.name)
        for sentence in unnamed:
            typer.echo(f"warning: {sentence}", err=True)
    num_left_out = len(result.left_out) + len(unnamed)
    num_left_out += len(embedded.left_out) if embedded else 0
    end_where_left_out(num_left_out, is_allowed=allow_partial)


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


def _require_html(path: Path | None) -> None:
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path}: expected a name that ends in .html, as --page is a page")


def _write_page(path: Path, result: SearchResult, *, name: str) -> None:
    from dcal.paths import write_atomically
    from dcal.visual.report import render_search

    card, num = result.gallery.card, result.table["query"].nunique()
    asked = "1 query" if num == 1 else f"{num} queries"
    how = "exactly" if result.recall is None else f"approximately, recall {result.recall:.1%}"
    text = render_search(
        result.table,
        pictures_folder=result.gallery.pictures_folder,
        title=f"Nearest pictures of {name}",
        lead=f"{asked} among {len(result.gallery)} pictures, by branch {card.branch} of "
        f"{result.gallery.model_path.name}, searched {how}.",
    )
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"{path} ({len(text.encode()) / 1e6:.2f} MB): open it in a browser")


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
