"""Train the chosen grid, or go on with it: `python -m pipelines.ablate [--grid FILE]`."""

from __future__ import annotations

import os

# Idle OpenMP threads that spin starve the loader; torch reads this once, when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import logging
from pathlib import Path
from typing import Annotated

import typer

from dcal.tracking import Tracker
from pipelines.ablate.choose import CHOICE
from pipelines.ablate.results import render_table, set_aside_others, write_results
from pipelines.ablate.run import SPENT, Ablation, carry_out, open_ablation, settle_runs
from pipelines.guard import hold_stage, watch_for_reasons_to_stop
from pipelines.inputs import read_inputs, require_unchanged
from pipelines.parent_run import track_parent
from pipelines.stage import run_command

logger = logging.getLogger(__name__)
STAGE, PIPELINE = "ablate", Path("pipelines/ablate/dvc.yaml")


class UnfinishedError(RuntimeError):
    """The hours of a grid are spent before all is trained."""


def main(
    grid: Annotated[
        Path | None, typer.Option(help="a file of experiments/grid; none = that of grid.yaml")
    ] = None,
) -> None:
    """Train what is left of a grid, and write its tables."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Of the weights that each training starts from it would say the same again and again.
    logging.getLogger("dcal.models.build").setLevel(logging.WARNING)
    with hold_stage(STAGE):
        inputs = read_inputs(STAGE, PIPELINE)
        run(grid or CHOICE.find())
        require_unchanged(STAGE, inputs, pipeline=PIPELINE, hint="run make ablate again")


def run(path: Path) -> Ablation:
    """Train what is left, and write the tables after each training.

    Raises:
        UnfinishedError: The hours are spent; the next start goes on.
    """
    with watch_for_reasons_to_stop() as should_stop:
        ablation = open_ablation(path, should_stop=should_stop)
        try:
            with track_parent(
                ablation.baseline, ablation.ground, kind="grid", label=f"grid {path.stem}"
            ) as tracker:
                settle_runs(ablation)
                _train_what_is_left(ablation)
                _show(ablation, tracker)
        except KeyboardInterrupt as error:
            if SPENT in str(error):
                raise UnfinishedError(_describe_progress(ablation, SPENT)) from None
            reason = str(error).partition(";")[0] or "interrupted"
            said = _describe_progress(ablation, f"it was stopped ({reason})")
            raise KeyboardInterrupt(said) from None
    return ablation


def _train_what_is_left(ablation: Ablation) -> None:
    planned, left = ablation.list_cells(), ablation.list_left()
    done = len(planned) - len(left)
    logger.info("grid %s: %d trainings, %d of them done before", ablation.name, len(planned), done)
    set_aside_others(ablation)
    if done:  # for what was planned otherwise before
        write_results(ablation)
    for number, cell in enumerate(left, start=done + 1):
        logger.info("training %d of %d: %s", number, len(planned), cell.name)
        carry_out(ablation, cell)
        write_results(ablation)


def _show(ablation: Ablation, tracker: Tracker) -> None:
    for file in write_results(ablation):
        tracker.log_file(file, "ablate")
    logger.info("%s", render_table(ablation))


def _describe_progress(ablation: Ablation, reason: str) -> str:
    left, planned = len(ablation.list_left()), len(ablation.list_cells())
    return (
        f"grid {ablation.name}: {planned - left} of {planned} trainings are done, and {reason}; "
        "the tables hold what there is; run make ablate again to go on"
    )


if __name__ == "__main__":
    run_command(main)
