"""Send to MLflow what runs said while it could not be reached; `make sync` (ours).

Not a stage. A running stage sends what waits for its own run by itself.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from dcal.paths import work_root
from dcal.tracking.answers import describe_failure
from dcal.tracking.sender import send_spool
from dcal.tracking.spool import SpoolSummary, list_spools
from dcal.tracking.store import connect, describe_tracking_uri
from pipelines.stage import run_command


def main(
    here: Annotated[
        bool, typer.Option("--here", help="also what is of another server: all of it, to this one")
    ] = False,
) -> None:
    """Send every spool that has something left; exit with 1 if something still waits."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if here:
        move_here()
    waiting = [summary for summary in list_spools(work_root()) if summary.num_waiting]
    if not waiting:
        print("sync: nothing waits")
        return
    try:
        connect().search_experiments(max_results=1)
    except Exception as error:
        sys.exit(
            f"sync: MLflow at {describe_tracking_uri()} takes nothing ({describe_failure(error)}): "
            f"{len(waiting)} runs wait; see that it answers, or set MLFLOW_TRACKING_URI"
        )
    if sum(send(summary) for summary in waiting):
        sys.exit(1)


def move_here() -> None:
    """Have runs that wait for another server sent to this one, from their beginning.

    Raises:
        ValueError: A running process sends one of them.
    """
    for summary in list_spools(work_root()):
        if summary.num_waiting and summary.spool.find_home() != describe_tracking_uri():
            summary.spool.send_elsewhere(describe_tracking_uri())


def send(summary: SpoolSummary) -> int:
    """Send one spool and print a line; return how many entries nobody is sending."""
    name = f"run {summary.run_key}"
    if summary.spool.is_being_sent():
        print(f"{name}: left to the running process that sends its {summary.num_waiting} entries")
        return 0
    num_left = send_spool(summary.spool)
    print(f"{name}: {summary.num_waiting - num_left} entries sent, {num_left} wait")
    return num_left


if __name__ == "__main__":
    run_command(main)
