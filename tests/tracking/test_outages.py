"""A real server behind a proxy that goes wrong: in the end it knows what it would have known."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dcal.tracking.spool import find_spool
from dcal.tracking.tracker import SpooledTracker
from tests.tracking import writer
from tests.tracking.proxy import FAULTS, FaultProxy
from tests.tracking.server import Server, read_run

pytestmark = pytest.mark.slow
Compare = Callable[[str], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, new_database: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(new_database, folder / "server.db")
    server = Server(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Track through a proxy that as yet passes everything on."""
    proxy = FaultProxy(server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield proxy
    proxy.stop()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send often, and put scores at one time."""
    for name, seconds in (("SEND", 0.05), ("FIRST_WAIT", 0.05), ("LONGEST_WAIT", 0.2)):
        monkeypatch.setattr(f"dcal.tracking.sender.{name}_SECONDS", seconds)
    monkeypatch.setattr(SpooledTracker, "_now", lambda self: self._start_milliseconds)


def run_undisturbed(run_key: str) -> None:
    tracker = writer.start(run_key)
    writer.say_everything(tracker, step_seconds=0)
    finish(tracker)


def finish(tracker: Any) -> None:
    tracker.set_status("FINISHED")
    assert tracker.close(patience=60)


@pytest.fixture
def compare(server: Server, proxy: FaultProxy, hurry: None, tmp_path: Path) -> Compare:
    """Return what compares a run at the server with an undisturbed one, point for point."""
    undisturbed = UUID(int=random.Random(str(tmp_path)).getrandbits(128)).hex
    run_undisturbed(undisturbed)

    def compare_runs(run_key: str) -> None:
        proxy.choose = lambda: "pass"
        expected = read_run(server.url, undisturbed, tmp_path / undisturbed)
        found = read_run(server.url, run_key, tmp_path / run_key)
        assert found == expected
        assert find_spool(run_key).num_waiting == 0
        assert not find_spool(run_key).rejected.exists()
        check(expected)

    return compare_runs


def check(run: dict[str, Any]) -> None:
    """See that an undisturbed run is all that was said."""
    assert run["status"] == "FINISHED"
    steps = [step for step, _, _ in run["points"]["train/loss"]]
    assert steps == list(range(writer.NUM_STEPS))
    assert len(run["points"]["odd"]) == len(run["points"]["far"]) == 3
    assert run["latest"]["test/both/top1_accuracy"] == "0.625"
    assert len(run["files"]) == 4 and run["tags"]["note"] == "said"


def make_key(number: int) -> str:
    return UUID(int=random.Random(number).getrandbits(128)).hex


@pytest.mark.parametrize("fault", FAULTS[1:])
def test_after_a_fault_of_every_kind_the_server_knows_all_of_the_run_once(
    fault: str, proxy: FaultProxy, compare: Compare
) -> None:
    # From the first request on, then by turns: a hang costs seconds, so it comes less often.
    rate = 0.1 if fault in ("hang", "late") else 0.3
    generator = random.Random(fault)
    answers = iter([fault, fault])
    proxy.choose = lambda: next(answers, fault if generator.random() < rate else "pass")
    key = make_key(FAULTS.index(fault))
    tracker = writer.start(key)
    writer.say_everything(tracker, step_seconds=0.05)
    finish(tracker)
    assert proxy.counts[fault] >= 3
    time.sleep(proxy.hang_seconds if fault == "late" else 0)
    compare(key)


def test_a_server_that_refuses_connections_from_the_start_and_comes_back_twice(
    proxy: FaultProxy, compare: Compare
) -> None:
    proxy.stop()
    key = make_key(100)
    tracker = writer.start(key)
    assert tracker.run_id is None
    for step in range(writer.NUM_STEPS // 2):
        tracker.log_metrics({"train/loss": 1 / (step + 1), "train/lr": 0.1 + 0.2 * step}, step)
        if step == 10:
            proxy.start()
        if step == 20:
            proxy.stop()
        time.sleep(0.1)
    proxy.start()
    writer.say_everything(tracker)
    finish(tracker)
    compare(key)


def test_a_server_that_is_back_only_after_the_run_gets_all_of_it_by_sync(
    proxy: FaultProxy, compare: Compare, repository: Path
) -> None:
    proxy.stop()
    key = make_key(102)
    tracker = writer.start(key)
    writer.say_everything(tracker, step_seconds=0)
    tracker.set_status("FINISHED")
    assert not tracker.close(patience=0.5)
    proxy.start()
    command = [sys.executable, "-m", "pipelines.sync"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"run {key}: ") and done.stdout.endswith(" sent, 0 wait\n")
    compare(key)


def wait_for_end(run_key: str) -> None:
    """Wait until a writer has said all and sends the rest."""
    end = time.monotonic() + 60
    while b'"FINISHED"' not in find_spool(run_key).journal.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("faults", [("pass",), FAULTS], ids=["healthy", "every fault"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_writer_that_is_killed_at_any_moment_and_goes_on_says_everything_once(
    seed: int, faults: tuple[str, ...], proxy: FaultProxy, compare: Compare, repository: Path
) -> None:
    generator = random.Random(f"{seed} {faults}")
    weights = [6] + [1] * (len(faults) - 1)
    proxy.choose = lambda: generator.choices(faults, weights)[0]
    key = make_key(200 + 10 * seed + len(faults))
    command = [sys.executable, "-m", "tests.tracking.writer", key]
    # Not the generator of the faults, whose number depends on the machine's speed.
    moments = random.Random(seed)
    for number in range(7):
        run = subprocess.Popen(command, cwd=repository)
        if number == 6:
            wait_for_end(key)
            time.sleep(moments.uniform(0, 0.2))
        else:
            time.sleep(moments.uniform(0.3, writer.SHORTEST_SECONDS))
            assert run.poll() is None
        run.kill()
        run.wait()
    proxy.choose = lambda: "pass"
    assert subprocess.run(command, cwd=repository).returncode == 0
    time.sleep(proxy.hang_seconds if "late" in faults else 0)
    compare(key)
