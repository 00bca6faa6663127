"""`dcal check`: what there is of a data set here, what is missing, what would be done (ours)."""

from __future__ import annotations

from typing import Annotated

import typer

from dcal.cli.terminal import speaking


def check(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A file of experiments/dataset, such as cub. Default: that of params.yaml."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Your folder or archive, in place of dataset.source."),
    ] = None,
) -> None:
    """Say what there is of a data set, what is missing, and what fetch and prepare would do.

    Reads official lists and looks at folders; opens no picture, downloads and changes nothing. Ends
    with status 0 where its pictures are there, with the official counts where it has any.

    Example: dcal check cars --source ~/stanford_cars
    """
    with speaking():
        from dcal.data.inventory import take_inventory
        from dcal.data.named_sets import PARAMS, find_dataset

        dataset, place = find_dataset(name, source=source)
        found = take_inventory(dataset)
        title = found.official.title if found.official is not None else dataset.source_type
        lines = [(dataset.name, f"{title}, as {place} says")]
        if found.official is not None:
            lines += [("page", found.official.page), ("terms", found.official.terms)]
        lines += found.lines
        lines += [("warning", warning) for warning in found.warnings]
        wanted = [] if place == PARAMS else [f"dataset={place.stem}"]
        if found.needs_source or source is not None:
            wanted.append(f"dataset.source={source or 'PATH'}")
        compose = f"python -m pipelines.compose {' '.join(wanted)}; then " if wanted else ""
        lines.append(("next", compose + found.next_step))
        width = max(len(what) for what, _ in lines)
        for what, text in lines:
            typer.echo(f"{what:{width}}  {text}")
    if not found.is_usable:
        raise typer.Exit(1)
