"""Say which plan stage tune runs; `make tune PLAN=name` begins with it (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcal.tuning.plan import load_plan
from pipelines.choices import Choice
from pipelines.stage import run_command

CHOICE = Choice("plan", Path("pipelines/tune/plan.yaml"), Path("experiments/tune"), check=load_plan)


def main(
    name: Annotated[str, typer.Argument(help="a file of experiments/tune; empty = as it is")] = "",
) -> None:
    """Choose the plan of the next study."""
    if name:
        CHOICE.write(name)


if __name__ == "__main__":
    run_command(main)
