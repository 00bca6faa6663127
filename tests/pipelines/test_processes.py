"""Real processes of the train stage: they start, are killed, are named, and go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import psutil
import pytest
from torch.distributed import HashStore

from dcal.training.fit import warn_of_accumulation
from dcal.training.processes import Place
from pipelines import processes, trainings
from pipelines.processes import LOST_STATUS, LastWords, describe_end
from tests.pipelines.scored import make_project, write_params
from tests.training.factory import make_run_config
from tests.visual.fixtures import make_config

TRAIN = [sys.executable, "-m", "pipelines.train"]
TORCHRUN = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc-per-node=2"]
EPOCHS = {"epochs": 6, "batch_size": 4, "checkpoint_minutes": 0.0, "selection": "last"}
PATIENCE_SECONDS = 120.0


class Job:
    """A train stage in a folder, as a shell would start it."""

    def __init__(self, folder: Path, command: list[str], repository: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(repository), "DCAL_WORK_ROOT": str(folder)}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> tuple[int, str, str]:
        """Return status, output and errors."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, err

    def count_checkpoints(self) -> int:
        """Return the number of checkpoints there are now."""
        return len(list(self.folder.glob("checkpoints/*/step-*.ckpt")))

    def find_rank(self, rank: int) -> psutil.Process:
        """Return one of its processes."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        (found,) = [child for child in children if child.environ().get("RANK") == str(rank)]
        return found

    def wait_for_steps(self) -> None:
        """Wait until it is between two steps that this start took."""
        before = {path.name for path in self.folder.glob("checkpoints/*/step-*.ckpt")}
        end = time.monotonic() + PATIENCE_SECONDS
        while {p.name for p in self.folder.glob("checkpoints/*/step-*.ckpt")} <= before:
            assert time.monotonic() < end and self.process.poll() is None
            time.sleep(0.01)


@pytest.mark.slow
def test_processes_that_were_stopped_and_killed_end_with_the_bytes_of_those_that_were_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    monkeypatch.setenv("DCAL_WORK_ROOT", str(whole))
    make_project(whole, monkeypatch, train={**EPOCHS, "processes": 2})
    shutil.rmtree(whole / "runs")
    shutil.rmtree(whole / "results")
    shutil.copytree(whole, pieces)

    status, out, err = Job(whole, TRAIN, repository).wait()
    assert status == 0, err
    # The first process alone speaks, tells MLflow and writes.
    assert out.count("in 2 processes") == 1 and err.count("MLflow run") == 1
    record = json.loads((whole / "results/train/run.json").read_text())
    assert len(record["warnings"]) == len(set(record["warnings"]))
    assert len(list(whole.glob("checkpoints/*/*.ckpt"))) == 1

    job = Job(pieces, TRAIN, repository)
    job.wait_for_steps()
    job.process.send_signal(signal.SIGTERM)
    status, _, err = job.wait()
    assert status == 1
    assert err.count("error:") == 1 and "training stopped: got SIGTERM; the last good" in err

    job = Job(pieces, TRAIN, repository)
    job.wait_for_steps()
    job.find_rank(1).kill()
    status, _, err = job.wait()
    assert status == 1 and "Traceback" not in err
    assert "error: process 1 of 2 was ended by SIGKILL, and the others were stopped" in err

    job = Job(pieces, [*TORCHRUN, "-m", "pipelines.train"], repository)
    assert job.wait()[0] == 0
    files = [folder / "runs/train/model.safetensors" for folder in (whole, pieces)]
    assert files[0].read_bytes() == files[1].read_bytes()
    tables = [
        pd.read_csv(folder / "results/train/history.csv").drop(columns="train/images_per_second")
        for folder in (whole, pieces)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize(
    ("ends", "named"),
    [
        ({1: -9}, "process 1 of 4 was ended by SIGKILL"),
        ({0: LOST_STATUS, 2: -11, 3: -15}, "process 2 of 4 was ended by SIGSEGV"),
        ({0: -15, 1: -9, 3: -9}, "process 1 of 4 was ended by SIGKILL, process 3 of 4 was ended"),
        ({2: -15}, "process 2 of 4 was ended by SIGTERM"),
        ({0: LOST_STATUS, 1: 1, 2: -15}, None),  # 1 told itself why
        ({0: 1, 1: 1}, None),
    ],
)
def test_a_process_that_was_killed_is_named(ends: dict[int, int], named: str | None) -> None:
    told = describe_end(ends, 4)
    assert told is None if named is None else told is not None and f"error: {named}" in told


def end(
    said_before: dict[int, str], rank: int, monkeypatch: pytest.MonkeyPatch, sentence: str | None
) -> tuple[str, int]:
    """Return what a process of three says where it ends, and its status."""
    monkeypatch.setattr(processes, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(processes, "OTHERS_SECONDS", 0.1)
    store = HashStore()
    store.set_timeout(timedelta(seconds=1))
    for other, words in said_before.items():
        LastWords(store, Place(other, 3, other, 3)).say(words)
    place = Place(rank, 3, rank, 3)
    words = LastWords(store, place)
    with pytest.raises(SystemExit) as ended:
        if sentence is None:
            processes._end_after_loss(words, place)
        else:
            processes._end(words, place, sentence)
    assert words.hear(rank, 0.1) is not None
    is_text = isinstance(ended.value.code, str)
    return (ended.value.code, 1) if is_text else ("", ended.value.code)


def test_what_ends_all_processes_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert end({}, 0, monkeypatch, "no; do this") == ("error: no; do this", 1)
    assert end({0: "no; do that"}, 1, monkeypatch, "no; do this") == ("", 1)
    assert (
        end({0: "lost"}, 1, monkeypatch, "no; do this")[0] == "error: process 1 of 3: no; do this"
    )
    assert end({}, 1, monkeypatch, "no")[0] == "error: process 1 of 3: no"


def test_under_a_torchrun_those_that_are_left_name_the_one_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = processes._LOST
    monkeypatch.delenv(processes.LAUNCHED, raising=False)
    assert end({0: lost}, 2, monkeypatch, None)[1] == LOST_STATUS
    assert "error: process 2 of 3 stopped, because process 1 is gone, or" in capsys.readouterr().err
    # What told itself why it ended is not told again, nor what our own launcher names.
    assert end({0: lost, 1: "disk full"}, 2, monkeypatch, None)[1] == LOST_STATUS
    monkeypatch.setenv(processes.LAUNCHED, "1")
    assert end({0: lost}, 2, monkeypatch, None)[1] == LOST_STATUS
    assert capsys.readouterr().err == ""


def test_processes_that_would_train_different_runs_are_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = [("a", {"torch": "1"}), ("a", {"torch": "2"}), ("b", {})]
    monkeypatch.setattr(processes, "gather_objects", lambda mine: given)
    with pytest.raises(RuntimeError, match="process 2 would train another run than process 0"):
        processes.require_one_run("a", {})
    given.pop()
    processes.require_one_run("a", {})
    assert "process 1 runs under other conditions: {'torch': '2'}" in caplog.text


def test_what_only_others_saw_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "gather_objects", lambda mine: [mine, ["both", "mine alone"]])
    processes.tell_others_warnings(["both"])
    processes.tell_others_warnings(["both", "process 1: mine alone"])
    assert caplog.messages == ["process 1: mine alone"]


def test_a_study_or_grid_in_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(train={"processes": 2})
    with pytest.raises(ValueError, match=r"train\.processes: expected 1, .* start more workers"):
        trainings.build(config, None)


def test_another_number_of_started_processes_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(make_config(train={"processes": 2}))
    place = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}
    for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=r"error: train\.processes: expected 4, .*; got 2"):
        processes.run_in_processes(lambda: None, "train")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"accumulate_steps": 1}, ""),
        ({}, "gradients are of 24 pictures, but triplets are mined and the BN neck normalises"),
        ({"model": {"neck": "none"}}, "but triplets are mined inside each batch of 12;"),
        ({"kind": "fgvc", "model": {}, "loss": {}, "images_per_identity": None}, ""),
    ],
)
def test_accumulation_says_what_of_re_id_it_changes(
    changes: dict[str, object], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    reid = {"kind": "reid", "loss": {"triplet": "soft"}, "model": {"neck": "bnneck"}}
    sizes = {"batch_size": 12, "images_per_identity": 2, "accumulate_steps": 2}
    warn_of_accumulation(make_run_config(**{**reid, **sizes, **changes}))
    assert told in caplog.text and bool(told) == bool(caplog.text)
