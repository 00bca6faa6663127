"""What a failed call to MLflow means: try later, never, or with another run (ours)."""

from __future__ import annotations

import re

from dcal.tracking.passwords import mask_password

# It would refuse the same again, whenever it is sent.
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST")
# What MLflow calls a bad request where it is its database that fails: these pass.
FAILURES_OF_DATABASE = ("ReadOnlySqlTransaction", "InsufficientPrivilege", "InterfaceError")
# So begins what MLflow's client makes of an answer that is not MLflow's: of a proxy, say.
FOREIGN_ANSWER = "API request to endpoint"
MAX_LENGTH = 160
REASONS = {
    "Connection refused": "connection refused",
    "Read timed out": "no answer in time",
    "ConnectTimeout": "no answer in time",
    "Failed to resolve": "its name is not known",
    "failed to resolve host": "its name is not known",
    "timeout expired": "no answer in time",
    "password authentication failed": "it refuses that user or password",
    "FATAL: role": "it knows no such user",
    "FATAL: database": "it has no database of that name",
    "too many clients": "it takes no more connections",
    "remaining connection slots": "it takes no more connections",
    "Remote end closed": "the connection broke",
    "Connection reset": "the connection broke",
    "not in a valid JSON": "what answers is not MLflow",
    "database is locked": "its database is locked",
    "disk is full": "its disk is full",
    "No space left": "its disk is full",
    "readonly database": "its database is read-only",
    "read-only transaction": "its database is read-only",
    "permission denied for": "its database is read-only for that user",
    "file is not a database": "what is there is no SQLite database",
    "out-of-date database schema": "its tables are of another version of MLflow",
    "Can't locate revision": "its tables are of another version of MLflow",
    "Read-only file system": "its disk is read-only",
    "unable to open database file": "its database cannot be opened",
}


def is_refusal(error: Exception) -> bool:
    """Say whether MLflow refuses these values for good."""
    signs = (FOREIGN_ANSWER, *FAILURES_OF_DATABASE)
    return _read_code(error) in REFUSALS and not any(sign in str(error) for sign in signs)


def is_unknown_run(error: Exception) -> bool:
    """Say whether the server has no such run."""
    return _read_code(error) == "RESOURCE_DOES_NOT_EXIST" and FOREIGN_ANSWER not in str(error)


def is_about_deleted_run(error: Exception) -> bool:
    """Say whether a refusal is because someone deleted the run, whatever the values are."""
    return "must be in the 'active' state" in str(error)


def describe_failure(error: Exception) -> str:
    """Return a few words on one line, without passwords."""
    reason = getattr(error, "database_reason", None)
    if reason is not None:
        return str(reason)
    text = " ".join(str(error).split()) or type(error).__name__
    for sign, reason in REASONS.items():
        if sign in text:
            return reason
    status = re.search(r"too many (\d{3}) error|error code (\d{3})", text)
    if status:
        return f"status {status.group(1) or status.group(2)}"
    text = mask_password(text.partition(" (Background on this error at")[0])
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]} ..."


def _read_code(error: Exception) -> str | None:
    # By name: this package is imported where MLflow need not be.
    return getattr(error, "error_code", None)
