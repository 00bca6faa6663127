"""What a failed call means, in a few words."""

from __future__ import annotations

import pytest

from dcal.tracking.answers import describe_failure, is_refusal
from dcal.tracking.database import DatabaseError
from dcal.tracking.store import connect


class Answer(Exception):
    """What MLflow's client raises, with its code."""

    def __init__(self, message: str, error_code: str) -> None:
        super().__init__(message)
        self.error_code = error_code


def test_a_bad_value_is_refused_for_good() -> None:
    assert is_refusal(Answer("Invalid value for metric", "INVALID_PARAMETER_VALUE"))
    assert is_refusal(Answer("(psycopg.errors.StringDataRightTruncation) too long", "BAD_REQUEST"))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        # MLflow calls all of a database's failures bad requests but the commonest.
        (
            "(psycopg.errors.ReadOnlySqlTransaction) cannot INSERT in a read-only transaction",
            "its database is read-only",
        ),
        (
            "(psycopg.errors.InsufficientPrivilege) permission denied for table metrics",
            "its database is read-only for that user",
        ),
        (
            "(psycopg.InterfaceError) connection closed (Background on this error at: https://x)",
            "(psycopg.InterfaceError) connection closed",
        ),
        (
            "API request to endpoint /api failed with error code 400",
            "status 400",
        ),
    ],
)
def test_what_may_pass_is_sent_again(message: str, words: str) -> None:
    error = Answer(message, "BAD_REQUEST")
    assert not is_refusal(error)
    assert describe_failure(error) == words


def test_a_database_that_does_not_answer_is_given_up_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://bob:hush@127.0.0.1:9/runs")
    # MLflow alone would ask for two minutes, and then raise an error of its own.
    with pytest.raises(DatabaseError) as failed:
        connect()
    assert str(failed.value) == (
        "the database postgresql://***@127.0.0.1:9/runs cannot be used (connection refused)"
    )
    assert describe_failure(failed.value) == "connection refused"
