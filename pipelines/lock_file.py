"""A whole dvc.lock is kept beside DVC's own, which DVC rewrites in place (ours).

On a full disk, or killed in that moment, DVC leaves an empty or a half file, and from then on
refuses to do anything. Each stage begins by keeping the file as it then is, whole, with all stages
before it; `make repro` puts it back where it has to.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import yaml

from dcal.paths import write_atomically

logger = logging.getLogger(__name__)

LOCK, KEPT = Path("dvc.lock"), Path(".dvc/tmp/dvc.lock.kept")


def keep_lock_file() -> None:
    """Keep dvc.lock as it is now, if it is whole."""
    text = _read_whole(LOCK)
    if text is not None and text != _read_whole(KEPT):
        with write_atomically(KEPT) as temporary:
            temporary.write_text(text, encoding="utf-8")


def restore_lock_file() -> None:
    """Put a whole dvc.lock back where there is a broken one: the kept one, else the last commit's.

    Raises:
        ValueError: There is neither.
    """
    if not LOCK.is_file() or _read_whole(LOCK) is not None:
        return
    kept, origin = _read_whole(KEPT), "kept when the last stage began"
    if kept is None:
        shown = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, text=True)
        kept, origin = _parse(shown.stdout), "of the last commit"
    if kept is None:
        raise ValueError(
            f"{LOCK}: damaged, as a full disk leaves it, and there is no other one; remove it, and "
            "every stage runs again"
        )
    with write_atomically(LOCK) as temporary:
        temporary.write_text(kept, encoding="utf-8")
    logger.info("%s was damaged, as a full disk leaves it: the one %s is back", LOCK, origin)


def _read_whole(path: Path) -> str | None:
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _parse(text: str) -> str | None:
    """Return a text that DVC can read as its lock file, else None."""
    try:
        content = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    is_whole = isinstance(content, dict) and {"schema", "stages"} <= set(content)
    return text if is_whole else None
