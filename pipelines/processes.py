"""A stage in `train.processes` processes: torch starts them, and the first one speaks (ours).

Under a torchrun that the user started, on one machine or many, a process takes the place it is
given. Otherwise the stage starts torch's elastic agent on itself, on this machine.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import NoReturn
from uuid import uuid4

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from dcal.collectives import gather_objects, is_first
from dcal.config import load_config
from dcal.training.processes import (
    PATIENCE,
    Place,
    ProcessLost,
    is_started_in_parallel,
    join,
    leave,
    read_place,
    tell_losses,
)
from pipelines.stage import LOGGERS, run_stage

logger = logging.getLogger(__name__)

LAUNCHED = "DCAL_LAUNCHED"  # set for processes that `launch` starts
LOST_STATUS = 75  # of a process that ends because of another one
SHUTDOWN_SECONDS = 30  # for a step and a checkpoint, as the grace of `guard` is
# The first process may be busy with telling MLflow how the run ended.
FIRST_SECONDS, OTHERS_SECONDS = 30.0, 5.0
_LOST = "lost another process"


def run_in_processes(main: Callable[[], None], stage: str) -> None:
    """Run a stage as `run_stage` does, in as many processes as `train.processes` says."""
    # Around what is wrong before there is a stage.
    run_stage(functools.partial(_start, main, stage))


def _start(main: Callable[[], None], stage: str) -> None:
    config = load_config("params.yaml").train
    if is_started_in_parallel():
        place = read_place(config)
        with join(place, config) as store:
            if store is None:
                run_stage(main, stage)
            else:
                _run_part(main, stage, place, store)
    elif config.processes > 1:
        launch(f"pipelines.{stage}", config.processes)
    else:
        run_stage(main, stage)


def _run_part(main: Callable[[], None], stage: str, place: Place, store: Store) -> None:
    """Run one process's part; what ends it is told once, by the first process where it can be."""
    words = LastWords(store, place)
    if place.rank:
        # Warnings are collected, and told by the first process.
        for name in LOGGERS:
            logging.getLogger(name).propagate = False
    try:
        with tell_losses(place):
            run_stage(main, stage if place.rank == 0 else None)
    except ProcessLost:
        _end_after_loss(words, place)
    except SystemExit as end:
        if isinstance(end.code, str):
            _end(words, place, end.code.removeprefix("error: "))
        raise
    except BaseException:
        sys.stderr.write(f"{place.name}:\n")
        raise


class LastWords:
    """What each process says when it ends, for the others to read."""

    def __init__(self, store: Store, place: Place) -> None:
        self._store, self._place = PrefixStore("last words", store), place

    def say(self, words: str) -> None:
        """Leave words for the others; nothing where the store is gone, too."""
        try:
            self._store.set(str(self._place.rank), words)
        except RuntimeError:
            return

    def hear(self, rank: int, seconds: float) -> str | None:
        """Return what another process said; None where it does not come to it in time."""
        try:
            self._store.wait([str(rank)], timedelta(seconds=seconds))
            return self._store.get(str(rank)).decode()
        except RuntimeError:
            return None

    def hear_others(self, seconds: float) -> dict[int, str | None]:
        """Return what each of the others said; all of them have this long together."""
        end = time.monotonic() + seconds
        others = [rank for rank in range(self._place.world_size) if rank != self._place.rank]
        return {rank: self.hear(rank, max(0.1, end - time.monotonic())) for rank in others}


def _end(words: LastWords, place: Place, sentence: str) -> NoReturn:
    """End by a sentence, which the first process tells where it ends by the same."""
    words.say(sentence)
    if place.rank == 0:
        sys.exit(f"error: {sentence}")
    leave()  # so that nobody waits for this one meanwhile
    first = words.hear(0, FIRST_SECONDS)
    # What follows is advice, and may differ.
    if first is not None and first.partition(";")[0] == sentence.partition(";")[0]:
        sys.exit(1)
    sys.exit(f"error: {place.name}: {sentence}")


def _end_after_loss(words: LastWords, place: Place) -> NoReturn:
    """End because of another process, and name it where neither it nor the launcher does."""
    words.say(_LOST)
    leave()
    if LAUNCHED not in os.environ:
        heard = words.hear_others(OTHERS_SECONDS)
        silent = [rank for rank, said in heard.items() if said is None]
        if all(said in (None, _LOST) for said in heard.values()):
            sys.stderr.write(f"error: {place.name} stopped, because {_describe_silent(silent)}\n")
    sys.exit(LOST_STATUS)


def _describe_silent(ranks: list[int]) -> str:
    minutes = PATIENCE.total_seconds() / 60
    who = f"process {', '.join(map(str, ranks))}" if ranks else "another process"
    return (
        f"{who} is gone, or did not answer for {minutes:g} minutes; the same command goes on from "
        "the last checkpoint"
    )


def require_one_run(fingerprint: str, conditions: dict[str, str]) -> None:
    """Compare what all processes are about to train; other conditions than the first's are told.

    Raises:
        RuntimeError: One has other parameters, data, code or starting weights.
    """
    runs = gather_objects((fingerprint, conditions))
    others = [rank for rank, (theirs, _) in enumerate(runs) if theirs != runs[0][0]]
    if others:
        raise RuntimeError(
            f"process {others[0]} would train another run than process 0 (other parameters, data, "
            "code or starting weights); bring all machines to one commit and one params.yaml, or "
            "let them work in one shared folder"
        )
    for rank, (_, theirs) in enumerate(runs):
        if is_first() and theirs != runs[0][1]:
            differing = {
                name: value for name, value in theirs.items() if runs[0][1].get(name) != value
            }
            logger.warning("process %d runs under other conditions: %s", rank, differing)


def tell_others_warnings(warnings: list[str]) -> None:
    """Have the first process warn of what only others have seen; all call this."""
    for rank, seen in enumerate(gather_objects(list(warnings))):
        for warning in seen if is_first() else []:
            told = f"process {rank}: {warning}"
            if warning not in warnings and told not in warnings:
                logger.warning("%s", told)


def launch(module: str, processes: int) -> None:
    """Run a module in so many processes on this machine, under torch's elastic agent.

    Raises:
        SystemExit: A process ended otherwise than well. One that was killed is named; of another,
            the sentence is its own.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _set_environment(processes)
    # The agent would tell at length what is told here in a sentence.
    logging.disable(logging.ERROR)
    with TemporaryDirectory(prefix="dcal-launch-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            shutdown_timeout=SHUTDOWN_SECONDS,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)("-m", module)
        except ChildFailedError as error:
            ends = {rank: failure.exitcode for rank, failure in error.failures.items()}
            sys.exit(describe_end(ends, processes) or 1)
        except SignalException:  # was passed on, and the processes have answered
            sys.exit(1)


def _set_environment(processes: int) -> None:
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
    # Nobody else is to reach the processes of one machine.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # torch's store writes stack traces where a process is gone.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ[LAUNCHED] = "1"


def describe_end(ends: dict[int, int], processes: int) -> str | None:
    """Name the processes that were killed; None where a process told itself why it ended.

    Args:
        ends: Exit status by rank, negative for a signal, of those that did not end well.
        processes: How many there were.
    """
    # Those that outlive another one are told to end by SIGTERM.
    killed = {rank: -status for rank, status in ends.items() if status < 0}
    first = {rank: number for rank, number in killed.items() if number != signal.SIGTERM}
    told = [status for status in ends.values() if status > 0 and status != LOST_STATUS]
    if not killed or (told and not first):
        return None
    names = ", ".join(
        f"process {rank} of {processes} was ended by {signal.Signals(number).name}"
        for rank, number in (first or killed).items()
    )
    return (
        f"error: {names}, and the others were stopped; the same command goes on from the last "
        "checkpoint"
    )
