"""What is said where a database of studies fails (ours)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from dcal.sentences import to_one_line
from dcal.tuning.address import describe_storage_url, find_storage_url
from dcal.tuning.errors import TuningError

READ_ONLY = (
    "the database may be read and not written to; let it be written to, or set DCAL_OPTUNA_URL to "
    "another one"
)

# Of a server that answers and wants another user, password or name.
REFUSALS = ("authentication", "does not exist", "pg_hba.conf", "not permitted")


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a database says when it fails into one sentence.

    Raises:
        TuningError: It cannot be reached, read or written.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        raise TuningError(f"{describe_storage_url()}: {_describe_failure(error)}") from error


def make_engine(url: str, **options: Any) -> sqlalchemy.Engine:
    """Return what connects to a database.

    Raises:
        TuningError: Its driver is not installed.
    """
    try:
        return sqlalchemy.create_engine(url, **options)
    except ImportError as error:
        raise TuningError(
            f"{describe_storage_url()}: the driver of this database is not installed ({error})"
        ) from None


def _describe_failure(error: Exception) -> str:
    if isinstance(error, (ArgumentError, NoSuchModuleError)):
        return "is no address of a database; expected one such as sqlite:////path/optuna.db"
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, DBAPIError):
        cause = cause.orig or cause
    reason = _hide_password(to_one_line(str(cause)))
    if "failed to resolve host" in reason:
        # A password with an @ that is not written %40 would be part of that name.
        reason = "its machine's name is not known"
    # SQLite's words, then PostgreSQL's: of a server that only follows another, of a role.
    if any(words in reason for words in ("readonly database", "read-only", "permission denied")):
        return f"{READ_ONLY} ({reason})"
    if isinstance(cause, sqlite3.Error):
        return f"the database cannot be used ({reason})"
    if "FATAL:" in reason and any(word in reason for word in REFUSALS):
        return (
            f"the server refuses the connection ({reason}); see user, password and the database's "
            "name in DCAL_OPTUNA_URL"
        )
    return f"the database cannot be reached ({reason}); start it, or see DCAL_OPTUNA_URL"


def _hide_password(text: str) -> str:
    password = sqlalchemy.make_url(find_storage_url()).password
    return text.replace(str(password), "***") if password else text
