"""Where studies are kept, as the environment says it (ours)."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from dcal.paths import work_root
from dcal.tracking.passwords import mask_password
from dcal.tuning.errors import TuningError

VARIABLE = "DCAL_OPTUNA_URL"
SQLITE, JOURNAL, POSTGRESQL = "sqlite:///", "journal:///", "postgresql"
FILES = {"sqlite": SQLITE, "journal": JOURNAL}  # what is kept in a file, and how it is addressed
EXAMPLE = (
    "such as sqlite:////path/optuna.db, postgresql+psycopg://host/optuna or "
    "journal:////shared/optuna.journal"
)


def find_storage_url() -> str:
    """Return `$DCAL_OPTUNA_URL`, else the database of the work root, absolute.

    Raises:
        TuningError: The variable names no database, or a file by a relative path.
    """
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        return f"{SQLITE}{work_root() / 'optuna.db'}"
    if "://" not in url:
        raise TuningError(f"{VARIABLE}: expected a database, {EXAMPLE}; got {mask_password(url)!r}")
    if not _is_address(url):
        raise TuningError(
            f"{VARIABLE}: {mask_password(url)} is no address of a database; expected one, {EXAMPLE}"
        )
    start = next((start for kind, start in FILES.items() if url.startswith(kind)), None)
    if start is not None and (not url.startswith(f"{start}/") or ":memory:" in url):
        raise TuningError(
            f"{VARIABLE}: expected a file by its absolute path, {EXAMPLE}, so that every "
            f"worker finds it; got {mask_password(url)}"
        )
    return url


def describe_storage_url() -> str:
    """Return the address as it may be shown: no password, no path of this machine's default."""
    if not os.environ.get(VARIABLE, "").strip():
        return "sqlite:///optuna.db"
    return mask_password(find_storage_url())


def find_file(url: str, start: str) -> Path | None:
    """Return the file of an address that begins with `start`, SQLITE or JOURNAL; None of others."""
    return Path(url.removeprefix(start).partition("?")[0]) if url.startswith(start) else None


def _is_address(url: str) -> bool:
    try:
        sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        return False
    return True
