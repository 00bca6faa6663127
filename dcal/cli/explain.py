"""`dcal explain`: where a model looks on pictures, as one figure a picture (ours)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcal.cli.embed import DeviceName
from dcal.cli.terminal import (
    MODEL_HELP,
    PICTURES_HELP,
    choose_device,
    name_left_out,
    require_parent,
    show_progress,
    speaking,
)

if TYPE_CHECKING:
    from dcal.inference.explanation import Explanation

INDEX = "index.csv"


def explain(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    picture: Annotated[
        list[str],
        typer.Argument(help=PICTURES_HELP),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="A folder, made where it is missing, for <picture>.png of each and index.csv, "
            "which tells of this call; or, of one picture, a file ending in .png."
        ),
    ],
    device: Annotated[
        DeviceName, typer.Option(help="auto takes a GPU where there is one.")
    ] = DeviceName.AUTO,
) -> None:
    """Draw where MODEL looks on each PICTURE: its rollout, what GLCA reads, and every block.

    Pictures that cannot be read are passed over and named, and the status is then 1; the rest is
    done.

    Example: dcal explain runs/train/model.safetensors photos --output explained
    """
    with speaking():
        require_parent(output, option="--output")

        from dcal.inference.explanation import explain_pictures
        from dcal.inference.opening import load_model
        from dcal.inference.own_pictures import find_pictures

        unnamed: list[str] = []
        pictures = find_pictures(picture, unnamed=unnamed)
        places = _name_figures(output, pictures)
        problems: dict[int, str] = {}
        rows: list[list[str]] = []
        with show_progress() as report:
            for each in explain_pictures(
                load_model(model), pictures, device=choose_device(device), problems=problems
            ):
                _save(places[each.picture], each)
                rows.append(_describe(each, places[each.picture]))
                report("drawing", len(rows), len(pictures))
        if rows and output.suffix != ".png":
            _write_index(output / INDEX, rows)
        typer.echo(f"{output}: figures drawn: {len(rows)}")
    if left_out := [*problems.values(), *unnamed]:
        name_left_out(left_out, num_pictures=len(pictures) + len(unnamed))
        raise typer.Exit(1)


def _name_figures(output: Path, pictures: list[Path]) -> dict[Path, Path]:
    """Return where each picture's figure goes; those of one name in two folders are numbered."""
    if output.suffix == ".png":
        if len(pictures) != 1:
            raise ValueError(
                f"{output}: expected one picture for a file ending in .png; got {len(pictures)}: "
                "name a folder"
            )
        return {pictures[0]: output}
    from dcal.data.images import PICTURE_SUFFIXES

    if not output.exists() and output.suffix.lower() in PICTURE_SUFFIXES:
        raise ValueError(f"{output}: expected a folder or a name that ends in .png")
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output}: expected a folder or a name that ends in .png; it is a file")
    output.mkdir(exist_ok=True)
    places: dict[Path, Path] = {}
    taken: set[str] = set()
    for picture in pictures:
        name, number = picture.stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{picture.stem}-{number}"
        taken.add(name.casefold())
        places[picture] = output / f"{name}.png"
    return places


def _save(path: Path, explanation: Explanation) -> None:
    from dcal.paths import write_atomically
    from dcal.visual.explanations import draw_explanation
    from dcal.visual.figures import allow_missing_glyphs

    with write_atomically(path) as temporary, allow_missing_glyphs():
        draw_explanation(explanation).savefig(temporary, dpi=110)


def _describe(explanation: Explanation, place: Path) -> list[str]:
    name, share = explanation.predictions[0] if explanation.predictions else ("", None)
    shown = "" if share is None else f"{share:.6f}"
    return [place.name, explanation.picture.as_posix(), name, shown]


def _write_index(path: Path, rows: list[list[str]]) -> None:
    from dcal.paths import write_atomically

    with write_atomically(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["figure", "picture", "class_name", "probability"])
        writer.writerows(rows)
