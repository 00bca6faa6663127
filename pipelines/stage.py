"""How a stage runs and ends: its inputs stay the same, a mistake is one sentence (ours)."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

import dcal
from dcal.mistakes import MISTAKES, is_mistake
from dcal.write_errors import WriteError, describe_write_error
from pipelines.guard import hold_stage
from pipelines.inputs import read_inputs, require_unchanged
from pipelines.lock_file import keep_lock_files

OURS = (Path(dcal.__file__).resolve().parent, Path(__file__).resolve().parent)
# A stage's own module is called __main__ while it runs.
LOGGERS = ("dcal", "pipelines", "__main__")


def run_stage(main: Callable[[], None], stage: str | None = None) -> None:
    """Run a stage's main; exit with status 1 and one sentence where the user can mend it.

    Such a sentence is an error that this project itself raises. `DCAL_TRACEBACK=1` shows where it
    came from. A stage of dvc.yaml also fails where what it reads was edited while it ran, and where
    another process runs it here.
    """
    try:
        if stage is None:
            main()
            return
        with hold_stage(stage):
            keep_lock_files()
            inputs = read_inputs(stage)
            main()
            require_unchanged(stage, inputs)
    except KeyboardInterrupt as error:
        generic = f"{stage or 'the command'} was interrupted; nothing half-written is left"
        sys.exit(f"error: {error}" if str(error) else f"error: {generic}")
    except MISTAKES as error:
        sentence = describe_mistake(error)
        if os.environ.get("DCAL_TRACEBACK") or sentence is None:
            raise
        sys.exit(f"error: {sentence}")


def run_command(main: Callable[..., None]) -> None:
    """Run a main with the arguments of the command line; see `run_stage` for how it ends."""

    # Inside of typer, which would say of an interrupt that it was aborted, and no more.
    @functools.wraps(main)
    def told(*arguments: Any, **options: Any) -> None:
        run_stage(lambda: main(*arguments, **options))

    typer.run(told)


def describe_mistake(error: Exception) -> str | None:
    """Return the sentence for an error that the user can mend; None for one that is ours."""
    if isinstance(error, WriteError):
        # DVC removes a stage's outs before the stage begins.
        removed = "; DVC took this stage's last results away before: git checkout and dvc checkout"
        back = f"{removed} bring them back" if os.environ.get("DVC_STAGE") else ""
        return f"{error}{back}"
    if is_mistake(error, OURS):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        # Raised by a library: the disk may still be to blame, and says so.
        return describe_write_error(error, error.filename)
    return None


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Yield a list that fills with every warning this project logs, each once, in order."""
    seen: list[str] = []
    collector = _Collector(seen)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        yield seen
    finally:
        for logger in loggers:
            logger.removeHandler(collector)


class _Collector(logging.Handler):
    def __init__(self, seen: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._seen:
            self._seen.append(message)
