"""Which errors a user can mend, and are therefore told in one sentence (ours)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

MISTAKES = (ValueError, OSError, RuntimeError, KeyError)
LIBRARY = Path(__file__).resolve().parent


def is_mistake(error: BaseException, folders: Iterable[Path] = (LIBRARY,)) -> bool:
    """Say whether an error is a sentence for the user: of the right kind, and raised by our code.

    Args:
        error: What was caught.
        folders: Where our code is; an error raised inside a library that it calls is a bug.
    """
    return isinstance(error, MISTAKES) and _is_raised_in(error.__traceback__, folders)


def _is_raised_in(traceback: TracebackType | None, folders: Iterable[Path]) -> bool:
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    path = Path(traceback.tb_frame.f_code.co_filename).resolve()
    return any(path.is_relative_to(folder) for folder in folders)
