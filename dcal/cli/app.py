"""The console script and its commands; what they need is imported when they run (ours)."""

from __future__ import annotations

import typer

from dcal.cli.check import check
from dcal.cli.embed import embed
from dcal.cli.explain import explain
from dcal.cli.export import export
from dcal.cli.info import info
from dcal.cli.predict import predict
from dcal.cli.register import register
from dcal.cli.search import search

app = typer.Typer(
    name="dcal",
    help="A trained model on pictures of your own: no data set, no labels, no code.\n\n"
    "dcal predict runs/train/model.safetensors PHOTOS\n\n"
    "dcal embed runs/train/model.safetensors PHOTOS --output photos.gallery\n\n"
    "dcal search photos.gallery NEW.jpg --picture found.png",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(check)
app.command()(embed)
app.command()(explain)
app.command()(export)
app.command()(info)
app.command()(predict)
app.command()(register)
app.command()(search)


def main() -> None:
    """Run the command that the arguments name."""
    app()
