"""The benchmark of two processes compares what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import processes
from dcal.config import load_config


def test_each_arm_is_compared_with_two_in_the_same_round() -> None:
    seconds = {"one": [1.0, 2.0, 4.0], "two": [1.1, 3.0, 4.0], "half": [0.5, 0.5, 0.5]}
    found = processes.summarise(seconds)
    assert found["one"] == {"seconds": 2.0, "two_over_it": pytest.approx(1.1)}
    assert found["two"]["two_over_it"] == 1.0
    assert found["half"] == {"seconds": 0.5, "two_over_it": 6.0}


def test_steps_are_those_of_the_train_stage(tmp_path: Path, repository: Path) -> None:
    config = processes.make_config(
        load_config(repository / "params.yaml", ["model.pwca_blocks=1"]), batch_size=2, processes=1
    )
    threads = torch.get_num_threads()
    seconds = processes.take_steps(config, num_steps=2 * processes.WINDOW, folder=tmp_path)
    assert 0 < seconds < 60 and torch.get_num_threads() == threads
    assert len(list((tmp_path / "checkpoints").glob("*.ckpt"))) == 1


def test_results_are_written_and_told(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(repository)
    steps = {name: [0.2] for name in ("one", "two", "apart", "half")}
    monkeypatch.setattr(processes, "measure_steps", lambda config, **sizes: steps)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: None)
    output = tmp_path / "processes.json"
    monkeypatch.setattr(sys, "argv", ["processes", "--output", str(output)])
    processes.main()
    record = json.loads(output.read_text())
    assert set(record["start_seconds"]) == set(processes.STARTS) and record["batch_size"] == 32
    assert "two takes 1.00 of it" in capsys.readouterr().out
