"""Studies in a file of a shared folder, whose machines do not share a clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from dcal.tuning import ages, locks
from dcal.tuning.errors import TuningError
from dcal.tuning.locks import StorageBusy, lock_storage
from dcal.tuning.progress import find_origin
from dcal.tuning.storage import open_storage
from tests.tuning.factory import list_states, list_trials, make_plan, open_worker, score
from tests.tuning.test_storage import READ_ONLY

COMPLETE, FAIL, RUNNING = TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the studies of a test are kept; nothing is there yet."""
    path = tmp_path / "shared" / "optuna.journal"
    monkeypatch.setenv("DCAL_OPTUNA_URL", f"journal:///{path}")
    return path


def test_a_study_in_a_journal_is_that_of_a_database(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = open_worker(make_plan(num_trials=4), score)
    worker.run()
    told = [(trial.params, trial.values) for trial in list_trials(worker.study)]
    assert list_states(open_worker(make_plan(num_trials=4), score).study) == [COMPLETE] * 4
    assert not list(journal.with_name("optuna.journal.signs").iterdir())
    monkeypatch.delenv("DCAL_OPTUNA_URL")
    other = open_worker(make_plan(num_trials=4), score)
    other.run()
    assert [(trial.params, trial.values) for trial in list_trials(other.study)] == told


def test_a_trial_without_a_sign_of_life_is_taken_over_and_a_live_one_is_not(journal: Path) -> None:
    worker = open_worker(make_plan(num_trials=3), score)
    storage = worker.storage
    live, dead = (storage.create_new_trial(worker.study._study_id) for _ in range(2))
    signs = journal.with_name("optuna.journal.signs")
    for trial_id in (live, dead):
        storage.record_heartbeat(trial_id)
    os.utime(signs / str(dead), (0, time.time() - storage.grace_period - 5))
    worker._others.take_over_from_the_dead()
    assert [storage.get_trial(number).state for number in (live, dead)] == [RUNNING, FAIL]
    storage.set_trial_state_values(live, COMPLETE, [0.5])
    worker.run()
    retry = next(t for t in list_trials(worker.study) if find_origin(t) != t.number)
    assert find_origin(retry) == storage.get_trial(dead).number and retry.state is COMPLETE
    assert not list(signs.iterdir())


def test_age_is_told_by_the_clock_of_the_folder(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = open_worker(make_plan(num_trials=3), score)
    trial_id = worker.storage.create_new_trial(worker.study._study_id)
    worker.storage.record_heartbeat(trial_id)
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)  # of this machine
    worker._others.take_over_from_the_dead()
    assert worker.storage.get_trial(trial_id).state is RUNNING
    now = ages.find_now(journal.parent)
    monkeypatch.setattr(ages, "find_now", lambda folder: now + 3600)
    worker._others.take_over_from_the_dead()
    assert worker.storage.get_trial(trial_id).state is FAIL


def test_signs_of_a_journal_that_was_deleted_say_nothing_of_a_new_one(journal: Path) -> None:
    open_storage().record_heartbeat(0)
    sign = journal.with_name("optuna.journal.signs") / "0"
    assert sign.is_file()
    journal.unlink()
    open_storage()
    assert not sign.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"notes\n", "expected a journal of Optuna, got another file; move it away or set DCAL_O"),
        (b'{"a": 1}\n', "expected a journal of Optuna, got another file"),
        (b"SQLite format 3\0", "expected a journal of Optuna, got another file"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_was(
    content: bytes, message: str, journal: Path
) -> None:
    journal.parent.mkdir()
    journal.write_bytes(content)
    with pytest.raises(TuningError, match=message):
        open_storage()
    assert journal.read_bytes() == content


def test_a_damaged_journal_is_one_sentence(journal: Path) -> None:
    optuna.create_study(storage=open_storage())
    with journal.open("ab") as stream:
        stream.write(b'{"op_co\n{"op_code"\n')
    with pytest.raises(
        TuningError, match=r"optuna\.journal: the journal is damaged \(.*bring back"
    ):
        open_storage()


@pytest.mark.parametrize("url", ["journal://optuna.journal", "journal:///optuna.journal"])
def test_a_journal_by_a_relative_path_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCAL_OPTUNA_URL", url)
    with pytest.raises(TuningError, match="expected a file by its absolute path"):
        open_storage()


def test_a_journal_that_goes_away_is_one_sentence(journal: Path) -> None:
    worker = open_worker(make_plan(num_trials=2), score)
    journal.unlink()
    journal.mkdir()
    with pytest.raises(TuningError, match=r"optuna\.journal") as caught:
        worker.run()
    assert "\n" not in str(caught.value)


def test_a_read_only_folder_is_one_sentence(journal: Path, repository: Path) -> None:
    open_storage()
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, str(journal.parent)],
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(repository),
            "DCAL_OPTUNA_URL": f"journal:///{journal}",
        },
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine permits no mount of one's own: {done.stderr.strip()}")
    said = done.stderr.strip().splitlines()[-1]
    assert "TuningError: " in said and "read-only" in said and "optuna.journal" in said


@pytest.mark.slow
def test_a_lock_of_a_dead_process_is_broken_and_that_of_a_live_one_is_not(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "ABANDONED_SECONDS", 3)
    with lock_storage():
        # Longer than a lock may be silent: its holder shows signs of life.
        time.sleep(3.2)
        with pytest.raises(StorageBusy), lock_storage(wait_seconds=0):
            raise AssertionError
    left = journal.with_name("optuna.journal.claim.lock")
    left.touch()
    os.utime(left, (0, 0))
    with lock_storage(wait_seconds=0):
        assert time.time() - left.stat().st_mtime < 60
    assert not left.exists()
