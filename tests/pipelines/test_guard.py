"""A trainer leaves when it is asked to, or when its DVC is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import guard
from pipelines.guard import find_dvc, hold_stage, watch_for_reasons_to_stop


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGTERM, "got SIGTERM"), (signal.SIGINT, "interrupted")]
)
def test_a_signal_becomes_a_reason_to_stop(number: signal.Signals, reason: str) -> None:
    before = signal.getsignal(number)
    with watch_for_reasons_to_stop() as should_stop:
        assert should_stop() is None
        os.kill(os.getpid(), number)
        assert should_stop() == reason
    assert signal.getsignal(number) is before


def test_a_second_interrupt_insists() -> None:
    with pytest.raises(KeyboardInterrupt), watch_for_reasons_to_stop():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_stage_started_by_hand_has_no_dvc_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert find_dvc() is None


# Stands for DVC by its name, and starts a shell that starts the trainer, as DVC does.
DVC = """
import os, subprocess, sys
subprocess.run([os.environ.get("SHELL", "/bin/sh"), "-c", sys.argv[1] + "; true"])
"""
TRAINER = """
import sys, time
from pipelines import guard
guard.POLL_SECONDS, guard.GRACE_SECONDS = 0.05, float(sys.argv[1])
print("started", guard.find_dvc() is not None, flush=True)
if guard.GRACE_SECONDS == 0:
    with guard.leave_with_dvc():
        time.sleep(60)
with guard.watch_for_reasons_to_stop() as should_stop:
    while should_stop() is None or guard.GRACE_SECONDS < 1:
        time.sleep(0.01)
    print(should_stop(), flush=True)
"""


@pytest.mark.parametrize("grace", [30.0, 0.2, 0.0])
def test_an_orphan_leaves(tmp_path: Path, grace: float, repository: Path) -> None:
    """By itself at the next step; by force where no step ends in time, or with nothing to save."""
    (tmp_path / "dvc").write_text(DVC)
    (tmp_path / "trainer.py").write_text(TRAINER)
    trainer = f"{sys.executable} {tmp_path / 'trainer.py'} {grace}"
    dvc = subprocess.Popen(
        [sys.executable, str(tmp_path / "dvc"), trainer],
        env={**os.environ, "DVC_STAGE": "train", "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert dvc.stdout is not None and dvc.stdout.readline() == "started True\n"
    time.sleep(0.1)
    dvc.kill()
    said = dvc.stdout.read()  # until the orphan, which holds the pipe, has left
    dvc.wait()
    dvc.stdout.close()
    reason = "the DVC that started this stage is gone"
    assert said == (f"{reason}\n" if grace > 1 else f"error: {reason}: left at once\n")


def test_one_process_at_a_time_runs_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = (
        "from pipelines import guard, stage\n"
        "guard.hold_stage.__wrapped__.__kwdefaults__['wait_seconds'] = 0.1\n"
        "stage.run_stage(lambda: None, 'train')"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(Path(guard.__file__).parent.parent)}
    with hold_stage("train"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: stage train runs already in this folder; let it finish")
    assert subprocess.run(command, env=environment).returncode == 0
