"""Say which grid stage ablate runs; `make ablate GRID=name` begins with it (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcal.ablation.grid import load_grid
from pipelines.choices import Choice
from pipelines.stage import run_command

CHOICE = Choice(
    "grid", Path("pipelines/ablate/grid.yaml"), Path("experiments/grid"), check=load_grid
)


def main(
    name: Annotated[str, typer.Argument(help="a file of experiments/grid; empty = as it is")] = "",
) -> None:
    """Choose the grid of the next ablation."""
    if name:
        CHOICE.write(name)


if __name__ == "__main__":
    run_command(main)
