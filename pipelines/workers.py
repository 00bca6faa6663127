"""The options of processes that share trainings (ours)."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

IsWorker = Annotated[
    bool, typer.Option("--worker", help="help the process that writes the results, from anywhere")
]
WorkerNumber = Annotated[
    int | None, typer.Argument(metavar="N", min=0, help="what a worker calls itself")
]


def begin_to_speak(is_worker: bool, number: int | None) -> None:
    """Let what is logged be seen; a worker says who says it.

    The number has no other meaning: workers need none, and two may have the same.

    Raises:
        ValueError: A number without --worker.
    """
    if number is not None and not is_worker:
        raise ValueError(f"{number}: expected --worker before the number of a worker")
    name = f"worker {os.getpid() if number is None else number}: " if is_worker else ""
    logging.basicConfig(level=logging.INFO, format=f"{name}%(message)s")
