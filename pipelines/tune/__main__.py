"""Run or go on with the chosen study: `python -m pipelines.tune [--plan FILE] [--worker [N]]`.

Without --worker it also trains the last round and writes results/tune and runs/tune. Workers, any
number of them on this and other machines, run trials of the same study until its budget is spent.
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
from dcal.tuning.final import DIFFERENCES
from pipelines.guard import hold_stage, watch_for_reasons_to_stop
from pipelines.inputs import read_inputs, require_unchanged
from pipelines.stage import run_command
from pipelines.tune.best import find_winner, write_results
from pipelines.tune.choose import CHOICE
from pipelines.tune.pictures import draw_study
from pipelines.tune.study import Search, open_search, run_final_round, settle_runs, track_study
from pipelines.workers import IsWorker, WorkerNumber, begin_to_speak

logger = logging.getLogger(__name__)
STAGE, PIPELINE = "tune", Path("pipelines/tune/dvc.yaml")


def main(
    plan: Annotated[
        Path | None, typer.Option(help="a file of experiments/tune; none = that of plan.yaml")
    ] = None,
    worker: IsWorker = False,
    number: WorkerNumber = None,
) -> None:
    """Run a study until its budget is spent, and write what it found."""
    begin_to_speak(worker, number)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    path = plan or CHOICE.find()
    if worker:
        run(path, helps=True)
        return
    with hold_stage(STAGE, advice="help it: python -m pipelines.tune --worker"):
        inputs = read_inputs(STAGE, PIPELINE)
        run(path)
        require_unchanged(STAGE, inputs, pipeline=PIPELINE, hint="run make tune again")


def run(path: Path, *, helps: bool = False) -> Search:
    """Run trials; who does not only help goes on to the last round and the results."""
    with watch_for_reasons_to_stop() as should_stop:
        search = open_search(path, should_stop=should_stop, helps=helps)
        try:
            with track_study(search) as tracker:
                search.worker.run()
                settle_runs(search)
                if not helps:
                    conclude(search, tracker)
        except KeyboardInterrupt as error:
            reason = str(error).partition(";")[0] or "interrupted"
            raise KeyboardInterrupt(
                f"study {search.plan.study.name} stopped ({reason}); the same command goes on with "
                "its trials from their checkpoints"
            ) from None
    return search


def conclude(search: Search, tracker: Tracker) -> None:
    """Train the last round, and write and show what the study found."""
    draw_study(search, tracker)
    final = run_final_round(search)
    for file in write_results(search, final):
        tracker.log_file(file, "tune")
    columns = ["configuration", "num_seeds", "mean", "half_interval_95", *DIFFERENCES]
    table = final[columns].to_string(index=False, na_rep="-", float_format="{:.4g}".format)
    logger.info("last round, %s:\n%s", final["metric"].iloc[0], table)
    logger.info(
        "python -m pipelines.compose tune=best takes the settings of %s into params.yaml",
        find_winner(final, search.plan.study)["configuration"],
    )


if __name__ == "__main__":
    run_command(main)
