"""Which processes of this work root live (ours).

    runs/.workers/<token>.lock    locked for as long as the process of that token lives

Signs of life in the storage tell of processes anywhere, and take minutes to grow old. Of those that
share a work root a lock tells at once: whoever dies lets go of it.
"""

from __future__ import annotations

import atexit
import time
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from filelock import Timeout

from dcal.disk import take_lock
from dcal.paths import work_root

FOLDER = "runs/.workers"  # of the work root
LEFTOVER_SECONDS = 24 * 3600


def get_own_token() -> str:
    """Return what names this process until it ends."""
    return _enter(work_root() / FOLDER)


def is_gone(token: str | None) -> bool:
    """Say whether a process has surely ended; one of another work root may have, too."""
    if token is None or token == get_own_token():
        return False
    path = _find_lock(work_root() / FOLDER, token)
    return path.is_file() and _is_free(path)


@lru_cache(maxsize=8)
def _enter(folder: Path) -> str:
    _remove_leftovers(folder)
    token = uuid4().hex
    held = ExitStack()
    held.enter_context(take_lock(_find_lock(folder, token), wait_seconds=0))
    atexit.register(_leave, held, _find_lock(folder, token))
    return token


def _leave(held: ExitStack, path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        held.close()


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left, whose trials others have taken over by their silence."""
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS and _is_free(path):
                path.unlink()


def _is_free(path: Path) -> bool:
    try:
        with take_lock(path, wait_seconds=0):
            return True
    except (Timeout, OSError):  # the latter where a lock cannot be asked for
        return False


def _find_lock(folder: Path, token: str) -> Path:
    return folder / f"{token}.lock"
