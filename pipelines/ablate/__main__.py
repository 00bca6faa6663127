"""Train a grid, or go on with it: `python -m pipelines.ablate [--grid FILE] [--worker [N]]`.

Without --worker it also writes results/ablate. Workers, any number of them on this and other
machines, take trainings that no other process has begun.
"""

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
from pipelines.ablate.run import SPENT, Ablation, open_ablation, settle_runs
from pipelines.ablate.share import share_out, take_in
from pipelines.guard import hold_stage, watch_for_reasons_to_stop
from pipelines.inputs import read_inputs, require_unchanged
from pipelines.parent_run import track_parent
from pipelines.stage import run_command
from pipelines.workers import IsWorker, WorkerNumber, begin_to_speak

logger = logging.getLogger(__name__)
STAGE, PIPELINE = "ablate", Path("pipelines/ablate/dvc.yaml")


class UnfinishedError(RuntimeError):
    """The hours of a grid are spent before all is trained."""


def main(
    grid: Annotated[
        Path | None, typer.Option(help="a file of experiments/grid; none = that of grid.yaml")
    ] = None,
    worker: IsWorker = False,
    number: WorkerNumber = None,
) -> None:
    """Train what is left of a grid, and write its tables."""
    begin_to_speak(worker, number)
    # Of the weights that each training starts from it would say the same again and again.
    logging.getLogger("dcal.models.build").setLevel(logging.WARNING)
    path = grid or CHOICE.find()
    if worker:
        run(path, helps=True)
        return
    with hold_stage(STAGE, advice="help it: python -m pipelines.ablate --worker"):
        inputs = read_inputs(STAGE, PIPELINE)
        run(path)
        require_unchanged(STAGE, inputs, pipeline=PIPELINE, hint="run make ablate again")


def run(path: Path, *, helps: bool = False) -> Ablation:
    """Train what is left, and write the tables after each training unless it only helps.

    Raises:
        UnfinishedError: The hours are spent; the next start goes on.
        GridError: Processes died of a training again and again.
    """
    with watch_for_reasons_to_stop() as should_stop:
        ablation = open_ablation(path, should_stop=should_stop, helps=helps)
        try:
            with track_parent(
                ablation.baseline,
                ablation.ground,
                kind="grid",
                label=f"grid {path.stem}",
                closes=not helps,
            ) as tracker:
                settle_runs(ablation)
                _train_what_is_left(ablation, writes=not helps)
                settle_runs(ablation)
                if not helps:
                    _show(ablation, tracker)
        except KeyboardInterrupt as error:
            if SPENT in str(error):
                raise UnfinishedError(_describe_progress(ablation, SPENT)) from None
            reason = str(error).partition(";")[0] or "interrupted"
            said = _describe_progress(ablation, f"it was stopped ({reason})")
            raise KeyboardInterrupt(said) from None
    return ablation


def _train_what_is_left(ablation: Ablation, *, writes: bool) -> None:
    take_in(ablation)
    planned = ablation.list_cells()
    done = len(planned) - len(ablation.list_left())
    logger.info("grid %s: %d trainings, %d of them done before", ablation.name, len(planned), done)
    if writes:
        set_aside_others(ablation)
        if done:  # for what was planned otherwise before
            write_results(ablation)
    for _ in share_out(ablation):
        if writes:
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
