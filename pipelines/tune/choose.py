"""Say which plan stage tune runs; `make tune PLAN=name` begins with it (ours).

DVC takes no argument for a command, so the choice is a parameter in a file that git keeps.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from dcal.config import read_yaml
from dcal.paths import write_atomically
from dcal.tuning.errors import TuningError
from dcal.tuning.plan import load_plan
from pipelines.stage import run_stage

CHOICE = Path("pipelines/tune/plan.yaml")
PLANS = Path("experiments/tune")


def main(
    name: Annotated[str, typer.Argument(help="a file of experiments/tune; empty = as it is")] = "",
) -> None:
    """Choose the plan of the next study."""
    if name:
        choose(name)


def choose(name: str) -> None:
    """Write the choice.

    Raises:
        TuningError: There is no such plan, or it is wrong.
    """
    load_plan(find_plan(name))
    text = CHOICE.read_text(encoding="utf-8")
    with write_atomically(CHOICE) as temporary:
        temporary.write_text(re.sub(r"^plan:.*$", f"plan: {name}", text, flags=re.M), "utf-8")


def find_plan(name: str | None = None) -> Path:
    """Return the file of a plan; none = the chosen one."""
    if name is None:
        name = str(read_yaml(CHOICE).get("plan"))
    if not re.fullmatch(r"\w+", name):
        raise TuningError(f"PLAN={name}: expected the name of a file in {PLANS}, without .yaml")
    return PLANS / f"{name}.yaml"


if __name__ == "__main__":
    run_stage(lambda: typer.run(main))
