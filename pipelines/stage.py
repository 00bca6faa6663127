"""How a stage ends: a user's mistake as its one sentence, anything else with its traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import dcal

OURS = (Path(dcal.__file__).resolve().parent, Path(__file__).resolve().parent)
MISTAKES = (ValueError, OSError, RuntimeError, KeyError)


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's main; exit with status 1 and one sentence where the user can mend it.

    Such a sentence is an error that this project itself raises. `DCAL_TRACEBACK=1` shows where it
    came from.
    """
    try:
        main()
    except MISTAKES as error:
        if os.environ.get("DCAL_TRACEBACK") or not _is_raised_here(error.__traceback__):
            raise
        sys.exit(f"error: {error}")


def _is_raised_here(traceback: TracebackType | None) -> bool:
    """Say whether the innermost frame is this project's, not that of a library it called."""
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    path = Path(traceback.tb_frame.f_code.co_filename).resolve()
    return any(path.is_relative_to(folder) for folder in OURS)
