from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcal.paths import work_root
from dcal.tracking import list_spools
from dcal.tracking.spool import find_spool
from dcal.tracking.store import connect
from dcal.tracking.tracker import SpooledTracker
from tests.tracking.conftest import RUN_KEY

pytestmark = pytest.mark.usefixtures("ready_database", "impatient")
Start = Callable[..., SpooledTracker]


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point tracking at a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_no_call_waits_for_a_server_that_hangs(start: Start, silent_server: None) -> None:
    begun = time.monotonic()
    tracker = start()
    for step in range(100):
        tracker.log_metrics({"train/loss": 1.0}, step=step)
    tracker.set_tags({"note": "said"})
    assert time.monotonic() - begun < 2
    begun = time.monotonic()
    assert not tracker.close(patience=0.2)
    assert time.monotonic() - begun < 5
    assert tracker.run_id is None
    assert [entry.num_waiting for entry in list_spools(work_root())] == [104]


def test_an_outage_is_one_warning_with_the_place_and_its_end_one_line(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="dcal")
    is_down = True

    def connect_or_not() -> object:
        if is_down:
            raise ConnectionError("Connection refused")
        return connect()

    monkeypatch.setattr("dcal.tracking.delivery.connect", connect_or_not)
    tracker = start()
    tracker.log_metrics({"train/loss": 1.0}, step=1)
    time.sleep(0.5)  # several attempts
    is_down = False
    tracker.end()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "MLflow at sqlite:///mlflow.db takes nothing (connection refused): the run goes on, and "
        f"what it says waits in mlflow-spool/{RUN_KEY}"
    ]
    assert caplog.text.count("answers again") == 1


def test_what_still_waits_at_the_end_is_counted_with_the_place_and_the_way_out(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("dcal.tracking.sender.PATIENCE_SECONDS", 0.2)
    tracker = start()
    tracker.log_metrics({"train/loss": 1.0}, step=1)
    tracker.end()
    assert f"5 entries wait in mlflow-spool/{RUN_KEY} for MLflow: make sync" in caplog.text
    # Warnings are kept in run.json, which is committed.
    assert not any(str(work_root()) in record.getMessage() for record in caplog.records)


def test_refused_entries_are_one_counted_warning(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start()
    for step in (1, 2, 3):
        tracker.log_metrics({"train/loss": 1.0, "recall@1": 0.5}, step=step)
    tracker.end()
    assert len(connect().get_metric_history(str(tracker.run_id), "train/loss")) == 3
    assert caplog.text.count("MLflow refused 3 entries") == 1


HOLDER = """
import sys
from dcal.tracking.spool import find_spool
with find_spool(sys.argv[1]).sender_lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_while_another_process_sends_a_tracker_writes_and_takes_over_at_its_end(
    start: Start, repository: Path
) -> None:
    start().end()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, RUN_KEY],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    tracker = start()
    tracker.log_metrics({"train/loss": 1.0}, step=1)
    time.sleep(0.2)
    spool = find_spool(RUN_KEY)
    assert spool.is_being_sent() and spool.num_waiting == 2
    holder.kill()
    holder.wait()
    for stream in (holder.stdin, holder.stdout):
        stream.close()
    wait_until(spool.is_delivered)
    tracker.end()
    assert len(connect().get_metric_history(str(tracker.run_id), "train/loss")) == 1


UNFINISHED = """
import sys
from datetime import UTC, datetime
from dcal.config import load_config
from dcal.tracking import Environment, start_run
environment = Environment(
    git_commit=None, git_dirty=None, dvc_exp_name=None, versions={}, device="cpu", threads=1)
tracker = start_run(
    load_config("params.yaml"), environment=environment, fingerprint="f", data_digest="d",
    run_key=sys.argv[1], started=datetime(2026, 1, 1, tzinfo=UTC))
tracker.log_metrics({"train/loss": 1.0}, 1)
"""


def test_a_process_that_ends_without_ending_its_run_ends_quietly_and_keeps_what_it_said(
    repository: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNFINISHED, RUN_KEY],
        cwd=repository,
        env=os.environ | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "Fatal" not in done.stderr
    assert find_spool(RUN_KEY).num_waiting == 4


def test_a_spool_that_cannot_be_locked_leaves_the_run_alone(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(spool: object) -> None:
        raise PermissionError("Permission denied")

    monkeypatch.setattr("dcal.tracking.sender.Delivery", refuse)
    tracker = start()
    tracker.log_metrics({"train/loss": 1.0}, step=1)
    assert not tracker.close(patience=0.3)
    assert caplog.text.count("takes nothing (Permission denied): the run goes on") == 1


def test_the_thread_that_trains_never_imports_mlflow(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    importers: set[str] = set()
    real = connect

    def note_thread() -> object:
        importers.add(threading.current_thread().name)
        return real()

    monkeypatch.setattr("dcal.tracking.delivery.connect", note_thread)
    tracker = start()
    tracker.log_metrics({"train/loss": 1.0}, step=1)
    tracker.end()
    assert importers == {"mlflow-sender"}
