"""When a trainer has to leave: a signal, or DVC that is gone; and one trainer a folder (ours).

A killed DVC leaves its trainer running, and the next `dvc repro` starts another one. The orphan
notices within a second, saves, and leaves; the lock keeps the other one waiting for that long.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
# For one step and a checkpoint. Nothing is lost by leaving without: the last one is whole.
GRACE_SECONDS = 30.0
WAIT_SECONDS = 60.0


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
    guard, done = Guard(), threading.Event()
    handlers = {
        number: signal.signal(number, guard.on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    parent = find_dvc()
    if parent is not None:
        threading.Thread(target=_watch_parent, args=(parent, guard, done), daemon=True).start()
    try:
        yield guard.should_stop
    finally:
        done.set()
        for number, handler in handlers.items():
            signal.signal(number, handler)


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


def _watch_parent(parent: psutil.Process, guard: Guard, done: threading.Event) -> None:
    while is_alive(parent):
        if done.wait(POLL_SECONDS):
            return
    guard.stop("the DVC that started this trainer is gone")
    if not done.wait(GRACE_SECONDS):
        sys.stderr.write(
            "error: DVC is gone, and no step ended in time: left without a checkpoint\n"
        )
        sys.stderr.flush()
        os._exit(1)


@contextmanager
def hold_outputs(folder: Path, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Keep a second trainer away from the files that every training here writes.

    Raises:
        RuntimeError: Another one is at work and does not leave.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=wait_seconds)
    except Timeout:
        raise RuntimeError(
            f"{folder}: another training writes here; let it finish or stop it, or run this one "
            "apart from it: dvc exp run --temp"
        ) from None
    try:
        yield
    finally:
        lock.release()
