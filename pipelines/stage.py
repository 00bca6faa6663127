"""How a stage runs and ends: its inputs stay the same, a mistake is one sentence (ours)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import dcal
from pipelines.guard import hold_stage
from pipelines.inputs import read_inputs, require_unchanged

OURS = (Path(dcal.__file__).resolve().parent, Path(__file__).resolve().parent)
# A stage's own module is called __main__ while it runs.
LOGGERS = ("dcal", "pipelines", "__main__")
MISTAKES = (ValueError, OSError, RuntimeError, KeyError)


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
            inputs = read_inputs(stage)
            main()
            require_unchanged(stage, inputs)
    except KeyboardInterrupt:
        sys.exit(f"error: {stage or 'the command'} was interrupted; nothing half-written is left")
    except MISTAKES as error:
        if os.environ.get("DCAL_TRACEBACK") or not _is_raised_here(error.__traceback__):
            raise
        sys.exit(f"error: {error}")


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


def _is_raised_here(traceback: TracebackType | None) -> bool:
    """Say whether the innermost frame is this project's, not that of a library it called."""
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    path = Path(traceback.tb_frame.f_code.co_filename).resolve()
    return any(path.is_relative_to(folder) for folder in OURS)
