"""Mend what a kill or a full disk did to DVC's own files: `make repro` begins with it (ours).

DVC rewrites in place its dvc.lock files, and .dvc/tmp/rwlock, which says which process reads and
writes what. Killed in that moment it leaves an empty or a half file, and refuses to run from then
on.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from dvc.lock import LockError, make_lock
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

from pipelines.lock_file import restore_lock_files
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)

DVC_TEMPORARY = Path(".dvc/tmp")


def main() -> None:
    """Restore and remove what is broken, and say so."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    restore_lock_files()
    remove_broken_rwlock()


def remove_broken_rwlock() -> None:
    """Remove a list of readers and writers that nobody can read; a running DVC keeps its own."""
    path = DVC_TEMPORARY / RWLOCK_FILE
    if not path.is_file() or _is_whole(path):
        return
    try:
        # As DVC itself does before it writes.
        with make_lock(str(DVC_TEMPORARY / RWLOCK_LOCK)):
            if not _is_whole(path):
                path.unlink(missing_ok=True)
                logger.info("%s was damaged, as a kill leaves it: it is removed", path)
    except LockError:
        return  # another DVC is writing it


def _is_whole(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False


if __name__ == "__main__":
    run_stage(main)
