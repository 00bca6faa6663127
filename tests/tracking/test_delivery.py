"""What is sent, against a real database and against a server that fails on cue."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcal.tracking.answers import describe_failure, is_refusal, is_unknown_run
from dcal.tracking.delivery import Delivery
from dcal.tracking.journal import Journal
from dcal.tracking.spool import Spool, State, find_spool
from dcal.tracking.store import connect, find_experiment
from dcal.tracking.tracker import SpooledTracker
from tests.tracking.conftest import RUN_KEY

pytestmark = pytest.mark.usefixtures("ready_database", "impatient")
Start = Callable[..., SpooledTracker]
ORIGIN = {"kind": "create", "experiment": "finches", "name": "n", "tags": {}, "start_time": 0}


def fill(*entries: dict[str, Any], run_key: str = RUN_KEY) -> Spool:
    spool = find_spool(run_key)
    journal = Journal(spool)
    for entry in (ORIGIN, *entries):
        journal.append(entry)
    journal.close()
    return spool


def metrics(step: int, **values: float) -> dict[str, Any]:
    return {"kind": "metrics", "step": step, "time": step * 1000, "values": values}


def deliver(spool: Spool) -> Delivery:
    delivery = Delivery(spool)
    while delivery.send_next():
        pass
    return delivery


def read_points(run_id: str | None, key: str) -> list[tuple[int, int, float]]:
    points = connect().get_metric_history(str(run_id), key)
    return [(point.step, point.timestamp, point.value) for point in points]


def list_runs() -> list[Any]:
    client = connect()
    return list(client.search_runs([find_experiment(client, "finches")]))


def test_a_journal_sent_again_from_the_start_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("seen")
    spool = fill(
        {"kind": "params", "values": {"seed": "0"}},
        {"kind": "dataset", "name": "finches", "digest": "d" * 64},
        *(metrics(step, loss=1 / (step + 1), odd=math.inf, none=math.nan) for step in range(30)),
        {"kind": "scores", "step": 0, "time": 5, "values": {"top1": 0.9}},
        {"kind": "scores", "step": 0, "time": 6, "values": {"top1": 0.4}},
        {"kind": "tags", "values": {"note": "one"}},
        {"kind": "tags", "values": {"note": "two"}},
        {"kind": "status", "status": "FINISHED", "time": 99},
    )
    run_id = deliver(spool).state.run_id
    before = connect().get_run(str(run_id)).to_dictionary()
    points = {key: read_points(run_id, key) for key in ("loss", "odd")}
    for offset in (line.end for line in list(spool.read_lines())[:-1:7]):
        spool.write_state(State(run_id, offset))
        assert deliver(spool).num_rejected == 0
    spool.write_state(State(None, 0))
    assert deliver(spool).state.run_id == run_id
    assert {key: read_points(run_id, key) for key in ("loss", "odd")} == points
    assert len(read_points(run_id, "none")) == len(points["loss"]) == 30
    after = connect().get_run(str(run_id)).to_dictionary()
    assert repr(after) == repr(before)  # as texts, because NaN is not equal to itself
    assert after["data"]["metrics"]["top1"] == 0.4
    assert len(after["inputs"]["dataset_inputs"]) == 1
    assert len(list_runs()) == 1


def test_more_than_one_call_takes_arrives_in_order() -> None:
    many = {f"p{i}": str(i) for i in range(250)}
    wide = {f"m{i}": float(i) for i in range(1500)}
    spool = fill({"kind": "params", "values": many}, metrics(1, **wide), metrics(2, **wide))
    run = connect().get_run(str(deliver(spool).state.run_id))
    assert run.data.params == many
    assert run.data.metrics == wide


def test_a_refused_point_is_set_aside_with_its_reason_and_blocks_nothing() -> None:
    spool = fill(
        metrics(1, loss=1.0),
        metrics(2, **{"loss": 0.5, "recall@1": 0.1}),
        metrics(3, loss=0.25),
        {"kind": "params", "values": {"k" * 300: "1", "seed": "0"}},
    )
    delivery = deliver(spool)
    assert read_points(delivery.state.run_id, "loss") == [
        (1, 1000, 1.0),
        (2, 2000, 0.5),
        (3, 3000, 0.25),
    ]
    assert connect().get_run(str(delivery.state.run_id)).data.params == {"seed": "0"}
    assert delivery.num_rejected == 2
    first, second = map(json.loads, spool.rejected.read_text().splitlines())
    assert first["entry"]["key"] == "recall@1" and "recall@1" in first["reason"]
    assert second["entry"]["key"] == "k" * 300


def test_points_of_a_run_that_was_deleted_are_set_aside_in_one_call_each_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = fill(metrics(1, loss=1.0))
    delivery = deliver(spool)
    connect().delete_run(str(delivery.state.run_id))
    journal = Journal(spool)
    for step in range(2, 52):
        journal.append(metrics(step, loss=1.0))
    calls: list[str] = []
    client = delivery.client
    send = client.log_batch
    monkeypatch.setattr(
        client, "log_batch", lambda *args, **values: (calls.append("call"), send(*args, **values))
    )
    while delivery.send_next():
        pass
    assert (len(calls), delivery.num_rejected) == (1, 50)
    assert "deleted" in json.loads(spool.rejected.read_text().splitlines()[0])["reason"]


def test_a_line_that_cannot_be_read_is_set_aside() -> None:
    spool = fill(metrics(1, loss=1.0))
    with open(spool.journal, "ab") as stream:
        stream.write(b"\0\0\n")
    Journal(spool).append(metrics(2, loss=0.5))
    delivery = deliver(spool)
    assert [point[0] for point in read_points(delivery.state.run_id, "loss")] == [1, 2]
    assert delivery.num_rejected == 1


def test_a_deleted_database_gets_a_new_run_with_everything_but_the_files_sent_before(
    start: Start,
    tmp_path: Path,
    new_database: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "notes.txt").write_text("seen")
    first = start()
    first.log_metrics({"train/loss": 1.0}, step=1)
    first.log_file(tmp_path / "notes.txt", "config")
    first.end()
    shutil.copy(new_database, tmp_path / "work" / "mlflow.db")
    again = start()
    again.log_metrics({"train/loss": 0.5}, step=2)
    again.end()
    assert first.run_id != again.run_id
    assert [point[0] for point in read_points(again.run_id, "train/loss")] == [1, 2]
    run = connect().get_run(str(again.run_id))
    assert run.info.status == "FINISHED" and run.data.params["seed"] == "0"
    assert caplog.text.count("no longer has run") == 1
    assert "1 files of the run were sent before MLflow lost it" in caplog.text


def test_a_run_made_twice_by_a_server_that_hung_is_there_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = fill(metrics(1, loss=1.0), {"kind": "status", "status": "FINISHED", "time": 9})
    delivery = Delivery(spool)
    assert delivery.send_next()
    # The creation that was given up as lost is carried out now.
    client = connect()
    late = client.create_run(
        find_experiment(client, "finches"), tags={"dcal.run_key": RUN_KEY}, start_time=0
    )
    while delivery.send_next():
        pass
    assert [run.info.run_id for run in list_runs()] == [delivery.state.run_id]
    assert late.info.run_id != delivery.state.run_id


def test_a_deleted_experiment_keeps_everything_waiting_and_says_how_to_restore_it() -> None:
    client = connect()
    client.delete_experiment(find_experiment(client, "finches"))
    spool = fill(metrics(1, loss=1.0))
    with pytest.raises(ValueError, match="'finches' was deleted; restore it with: mlflow exper"):
        Delivery(spool).send_next()
    assert spool.num_waiting == 2


def test_an_experiment_that_another_process_makes_at_the_same_moment_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = connect()
    expected = find_experiment(client, "finches")
    look, answers = client.get_experiment_by_name, iter([False, True])
    monkeypatch.setattr(
        client, "get_experiment_by_name", lambda name: look(name) if next(answers) else None
    )
    assert find_experiment(client, "finches") == expected


class FailingClient:
    """A client whose calls raise what was put in line for them, then work."""

    def __init__(self, *errors: Exception | None, after: bool) -> None:
        self.errors, self.client, self.after = list(errors), connect(), after

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            error = self.errors.pop(0) if self.errors else None
            answer = None
            if error is None or self.after:
                answer = getattr(self.client, name)(*arguments, **named)
            if error is not None:
                raise error
            return answer

        return call


@pytest.mark.parametrize("after", [False, True], ids=["not applied", "applied unknown to us"])
@pytest.mark.parametrize("num_good", range(8))
def test_a_call_that_fails_anywhere_is_made_again_and_all_is_there_once(
    num_good: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = FailingClient(*[None] * num_good, ConnectionError("gone"), after=after)
    monkeypatch.setattr("dcal.tracking.delivery.connect", lambda: failing)
    spool = fill(
        metrics(1, loss=1.0),
        {"kind": "dataset", "name": "finches", "digest": "d"},
        metrics(2, loss=0.5),
        {"kind": "status", "status": "FINISHED", "time": 9},
    )
    delivery, num_failures = Delivery(spool), 0
    while not spool.is_delivered():
        try:
            delivery.send_next()
        except ConnectionError:
            num_failures += 1
            delivery = Delivery(spool)  # as after a kill
    assert num_failures == 1
    (run,) = list_runs()
    assert read_points(run.info.run_id, "loss") == [(1, 1000, 1.0), (2, 2000, 0.5)]
    assert (run.info.status, len(run.inputs.dataset_inputs)) == ("FINISHED", 1)


def make_error(code: str, message: str) -> Exception:
    error = Exception(message)
    error.error_code = code  # type: ignore[attr-defined]
    return error


def test_only_mlflows_own_verdict_on_the_values_is_final() -> None:
    said = "API request to endpoint /api/2.0/mlflow/runs/log-batch failed with error code 400"
    assert is_refusal(make_error("INVALID_PARAMETER_VALUE", "Invalid value 'a@b'"))
    assert not is_refusal(make_error("INVALID_PARAMETER_VALUE", said))
    assert not is_refusal(make_error("PERMISSION_DENIED", "who are you"))
    assert not is_refusal(ValueError("odd"))
    assert is_unknown_run(make_error("RESOURCE_DOES_NOT_EXIST", "Run with id=0 not found"))
    assert not is_unknown_run(make_error("RESOURCE_DOES_NOT_EXIST", said))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("HTTPConnectionPool(...): [Errno 111] Connection refused'))", "connection refused"),
        ("Read timed out. (read timeout=10)", "no answer in time"),
        ("RemoteDisconnected('Remote end closed connection')", "the connection broke"),
        ("the response body was not in a valid JSON format", "what answers is not MLflow"),
        ("API request failed: too many 500 error responses", "status 500"),
        ("(sqlite3.OperationalError) database is locked\n[SQL: ...]", "its database is locked"),
        ("cannot reach postgresql://bob:secret@db/runs", "cannot reach postgresql://***@db/runs"),
        ("", "Exception"),
    ],
)
def test_a_failure_is_said_in_a_few_words_on_one_line(message: str, expected: str) -> None:
    assert describe_failure(Exception(message)) == expected
    assert len(describe_failure(Exception("x" * 999))) < 200


def test_a_run_below_another_waits_until_that_one_is_there() -> None:
    child, parent = "c" * 32, "a" * 32
    spool = find_spool(child)
    journal = Journal(spool)
    journal.append(ORIGIN | {"parent_key": parent})
    journal.append(metrics(0, loss=1.0))
    journal.close()
    delivery = Delivery(spool)
    with pytest.raises(ConnectionError, match=f"parent {parent} has not been sent"):
        delivery.send_next()
    assert not list_runs() and delivery.state == State(None, 0)
    parent_id = deliver(fill(run_key=parent)).state.run_id
    child_id = deliver(spool).state.run_id
    assert read_points(child_id, "loss") == [(0, 0, 1.0)]
    tags = connect().get_run(str(child_id)).data.tags
    assert tags["mlflow.parentRunId"] == parent_id
