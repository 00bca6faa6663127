"""When a stage has to leave: a signal, or DVC that is gone; and one process a stage (ours).

A killed DVC leaves its stage running, and the next `dvc repro` starts another one. The orphan
notices within a second and leaves (a trainer saves before); a lock keeps the other one waiting for
that long, so that no two ever write the same files.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import psutil
from filelock import Timeout

from dcal.disk import take_lock

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
# For one step and a checkpoint. Nothing is lost by leaving without: the last one is whole.
GRACE_SECONDS = 30.0
WAIT_SECONDS = 60.0
RUN_OF_LAUNCHER = "TORCHELASTIC_RUN_ID"
RUN_APART = "run this one apart from it: dvc exp run --temp"


class Guard:
    """Holds the reason to stop, if there is one; ask it between steps."""

    def __init__(self) -> None:
        self._reason: str | None = None

    def should_stop(self) -> str | None:
        """Return why the run should save and leave, or None."""
        return self._reason

    def stop(self, reason: str) -> None:
        """Ask for a stop; the first reason stands."""
        self._reason = self._reason or reason

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ask for a stop, and at the second time of an interrupt from the keyboard insist."""
        if number == signal.SIGINT and self._reason is not None:
            raise KeyboardInterrupt
        name = "interrupted" if number == signal.SIGINT else f"got {signal.Signals(number).name}"
        logger.info("%s: stopping after this step, with a checkpoint", name)
        self.stop(name)


@contextmanager
def watch_for_reasons_to_stop() -> Iterator[Callable[[], str | None]]:
    """Yield the question that a trainer asks between steps; handlers are put back at the end."""
    guard = Guard()
    handlers = {
        number: signal.signal(number, guard.on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with _follow_dvc(guard.stop, grace_seconds=GRACE_SECONDS):
            yield guard.should_stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def leave_with_dvc() -> Iterator[None]:
    """End this process, which has nothing to save, as soon as its DVC is gone."""
    with _follow_dvc(lambda reason: None, grace_seconds=0.0):
        yield


@contextmanager
def _follow_dvc(stop: Callable[[str], None], *, grace_seconds: float) -> Iterator[None]:
    starters, done = list_starters(), threading.Event()
    for name, process in starters.items():
        arguments = (name, process, stop, grace_seconds, done)
        threading.Thread(target=_watch, args=arguments, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(
    name: str,
    starter: psutil.Process,
    stop: Callable[[str], None],
    grace_seconds: float,
    done: threading.Event,
) -> None:
    while is_alive(starter):
        if done.wait(POLL_SECONDS):
            return
    stop(f"{name} is gone")
    if not done.wait(grace_seconds):
        sys.stderr.write(f"error: {name} is gone: left at once\n")
        sys.stderr.flush()
        os._exit(1)


def list_starters() -> dict[str, psutil.Process]:
    """Return what this process is not to outlive: its DVC, and a launcher of processes."""
    starters = {}
    if (dvc := find_dvc()) is not None:
        starters["the DVC that started this stage"] = dvc
    if RUN_OF_LAUNCHER in os.environ and (launcher := psutil.Process().parent()) is not None:
        starters["the launcher of this process"] = launcher
    return starters


def find_dvc() -> psutil.Process | None:
    """Return the DVC process that runs this stage; None where the stage was started by hand."""
    if not os.environ.get("DVC_STAGE"):
        return None
    for parent in psutil.Process().parents():
        try:
            if any(Path(word).name == "dvc" for word in parent.cmdline()[:4]):
                return parent
        except psutil.Error:
            continue
    return None


def is_alive(process: psutil.Process) -> bool:
    """Say whether a process lives; one that is dead and only waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def hold_stage(
    stage: str, *, wait_seconds: float = WAIT_SECONDS, advice: str = RUN_APART
) -> Iterator[None]:
    """Keep a second process of a stage away from the files that it writes.

    Raises:
        RuntimeError: Another one is at work and does not leave.
    """
    lock = take_lock(Path("runs") / f".{stage}.lock", wait_seconds=wait_seconds)
    with ExitStack() as held:
        try:
            held.enter_context(lock)
        except Timeout:
            raise RuntimeError(
                f"stage {stage} runs already in this folder; let it finish or stop it, or {advice}"
            ) from None
        yield
