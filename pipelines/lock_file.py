"""A whole dvc.lock is kept beside DVC's own, which DVC rewrites in place (ours).

On a full disk, or killed in that moment, DVC leaves an empty or a half file, and from then on
refuses to do anything. Each stage begins by keeping the files as they then are, whole, with all
stages before it; `python -m pipelines.mend` puts them back where it has to.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import yaml

from dcal.paths import write_atomically

logger = logging.getLogger(__name__)

# One of each pipeline, and where it is kept.
KEPT = {
    Path("dvc.lock"): Path(".dvc/tmp/dvc.lock.kept"),
    Path("pipelines/tune/dvc.lock"): Path(".dvc/tmp/tune.lock.kept"),
    Path("pipelines/ablate/dvc.lock"): Path(".dvc/tmp/ablate.lock.kept"),
}


def keep_lock_files() -> None:
    """Keep each dvc.lock as it is now, if it is whole."""
    for lock, kept in KEPT.items():
        text = _read_whole(lock)
        if text is not None and text != _read_whole(kept):
            with write_atomically(kept) as temporary:
                temporary.write_text(text, encoding="utf-8")


def restore_lock_files() -> None:
    """Put a whole dvc.lock back where there is a broken one: the kept one, else the last commit's.

    Raises:
        ValueError: There is neither.
    """
    for lock in KEPT:
        if lock.is_file() and _read_whole(lock) is None:
            _restore(lock)


def _restore(lock: Path) -> None:
    text, origin = _read_whole(KEPT[lock]), "kept when the last stage began"
    if text is None:
        shown = subprocess.run(["git", "show", f"HEAD:./{lock}"], capture_output=True, text=True)
        text, origin = _parse(shown.stdout), "of the last commit"
    if text is None:
        raise ValueError(
            f"{lock}: damaged, as a full disk leaves it, and there is no other one; remove it, and "
            "its stages run again"
        )
    with write_atomically(lock) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logger.info("%s was damaged, as a full disk leaves it: the one %s is back", lock, origin)


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
