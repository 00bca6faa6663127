"""How old a file of a shared folder is, by the clock of whoever keeps that folder (ours).

Clocks of machines differ, by minutes at times, so no time of this machine is compared with one
that another machine has set.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def find_age(path: Path) -> float | None:
    """Return the seconds since a file was last touched; None where there is none.

    Raises:
        OSError: The folder cannot be written to.
    """
    try:
        touched = _read_time(path)
    except FileNotFoundError:
        return None
    return find_now(path.parent) - touched


def find_now(folder: Path) -> float:
    """Return the time of a folder's own clock, by a file that is made there and removed."""
    probe = folder / f".part-now-{uuid4().hex}"
    try:
        probe.touch(exist_ok=False)
        return _read_time(probe)
    finally:
        probe.unlink(missing_ok=True)


def _read_time(path: Path) -> float:
    # Opened, because a network file system then asks the server, where a bare stat may be minutes
    # behind.
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
