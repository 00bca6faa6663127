"""The folder of a run: whole files, one writer, a state that outlives its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dcal.training.checkpoints import CheckpointFolder
from dcal.training.run_state import RunState


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    folder = CheckpointFolder(tmp_path / "checkpoints" / "f00d")
    folder.path.mkdir(parents=True)
    return folder


def write(folder: CheckpointFolder, step: int, content: bytes = b"state") -> None:
    with folder.write(step=step) as path:
        path.write_bytes(content + str(step).encode())


def never(state: RunState) -> bool:
    return False


def test_the_newest_two_are_kept(folder: CheckpointFolder) -> None:
    for step in (3, 20, 100):
        write(folder, step)
    assert [checkpoint.step for checkpoint in folder.list_checkpoints()] == [100, 20]
    newest = folder.find_newest()
    assert newest is not None and newest.path.read_bytes() == b"state100"


def test_a_write_that_fails_leaves_the_ones_before(folder: CheckpointFolder) -> None:
    write(folder, 1)
    with pytest.raises(RuntimeError, match="broken"), folder.write(step=2) as path:
        path.write_bytes(b"half")
        raise RuntimeError("broken")
    assert [checkpoint.step for checkpoint in folder.list_checkpoints()] == [1]
    assert not list(folder.path.glob(".part-*"))


def test_a_file_that_was_not_published_is_none_and_is_cleared(folder: CheckpointFolder) -> None:
    """A kill between writing and naming leaves one."""
    write(folder, 1)
    (folder.path / ".part-step-00000002.ckpt").write_bytes(b"whole, or not")
    assert [checkpoint.step for checkpoint in folder.list_checkpoints()] == [1]
    with folder.hold():
        assert not list(folder.path.glob(".part-*"))


def test_all_damaged_is_as_none(folder: CheckpointFolder, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        write(folder, step)
    for checkpoint in folder.list_checkpoints():
        checkpoint.path.write_bytes(b"")
    assert folder.find_newest() is None
    assert [message.rpartition("; ")[2] for message in caplog.messages] == [
        "the one before is used",
        "there is none before it, so training starts from the beginning",
    ]
    # They are committed and shown to others: nothing of this machine.
    assert all(message.startswith("checkpoints/f00d/step-") for message in caplog.messages)


def test_a_run_keeps_its_name_and_start_over_attempts(folder: CheckpointFolder) -> None:
    first = folder.open_run({}, is_recorded=never)
    write(folder, 12)
    second = folder.open_run({}, is_recorded=never)
    assert (second.run_key, second.started) == (first.run_key, first.started)
    assert [attempt.from_step for attempt in second.attempts] == [0, 12]


def test_going_on_under_other_conditions_is_said(
    folder: CheckpointFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.open_run({"torch": "2.14.1", "threads": "2"}, is_recorded=never)
    write(folder, 12)
    folder.open_run({"torch": "2.14.1", "threads": "2"}, is_recorded=never)
    assert not caplog.text
    folder.open_run({"torch": "2.15.0", "threads": "2"}, is_recorded=never)
    assert "from step 12 under other conditions (torch 2.14.1 before, 2.15.0 now)" in caplog.text


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_finished_run_is_begun_anew_only_where_dvc_has_its_result(
    folder: CheckpointFolder, tmp_path: Path, is_recorded: bool
) -> None:
    record = tmp_path / "run.json"
    record.write_text("{}")
    first = folder.open_run({}, is_recorded=never)
    write(folder, 11)
    write(folder, 12)
    folder.finish(record=record)
    assert [checkpoint.step for checkpoint in folder.list_checkpoints()] == [12]
    second = folder.open_run({}, is_recorded=lambda state: is_recorded)
    assert (second.run_key == first.run_key) == (not is_recorded)
    assert (folder.find_newest() is None) == is_recorded
    # md5 of the two bytes {}
    state = folder.read_state()
    assert state is not None
    assert state.record_md5 == (None if is_recorded else "99914b932bd37a50b983c5e7c90ae93b")


def test_a_damaged_state_is_said_and_the_checkpoints_are_used_under_a_new_name(
    folder: CheckpointFolder, caplog: pytest.LogCaptureFixture
) -> None:
    first = folder.open_run({}, is_recorded=never)
    write(folder, 5)
    (folder.path / "run.json").write_text('{"run_key": ')
    second = folder.open_run({}, is_recorded=never)
    assert second.run_key != first.run_key and second.attempts[0].from_step == 5
    assert "damaged" in caplog.text


HOLD = """
import sys, time
from pathlib import Path
from dcal.training.checkpoints import CheckpointFolder
with CheckpointFolder(Path(sys.argv[1])).hold():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_trainer_is_kept_out_until_the_first_is_dead(folder: CheckpointFolder) -> None:
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert folder.is_held()
        message = rf"process {holder.pid} on .* trains this very run"
        with pytest.raises(RuntimeError, match=message), folder.hold(wait_seconds=0.1):
            pass
        holder.kill()
    with folder.hold(wait_seconds=5):
        assert folder.list_checkpoints() == []
    assert not folder.is_held()
