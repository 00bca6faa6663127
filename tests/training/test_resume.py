"""An interrupted run goes on bit for bit, wherever it was stopped."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dcal.config import Config
from dcal.models import build_model
from dcal.training.callbacks import History
from dcal.training.checkpoints import CheckpointFolder
from dcal.training.finite import TrainingBroken
from dcal.training.fit import Outlets, TrainingResult, fit
from dcal.training.module import DCALModule
from dcal.training.resume import (
    TrainingStopped,
    collect_random_states,
    restore_random_states,
)
from dcal.training.runtime import resolve_runtime
from tests.training.factory import make_loaders, make_run_config

TIMED = ["train/images_per_second"]


def run(config: Config, folder: Path, *, stop_after: int | None = None, **options: Any):
    """Train with checkpoints after every step, and stop when asked the n-th time."""
    asked = iter(range(1, 10_000))
    torch.manual_seed(config.seed)
    return fit(
        build_model(config.model, 3),
        config,
        make_loaders(config, **options),
        runtime=resolve_runtime(config.train),
        outlets=Outlets(
            folder / "history.csv",
            lambda values, step: None,
            CheckpointFolder(folder / "checkpoints"),
            lambda: "asked to" if next(asked) == stop_after else None,
        ),
    )


def assert_same(first: TrainingResult, second: TrainingResult, *folders: Path) -> None:
    states = [result.model.state_dict() for result in (first, second)]
    assert list(states[0]) == list(states[1])
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert first.scores == second.scores
    for name in ("weights", "selected_epoch", "selection_score", "num_steps"):
        assert getattr(first, name) == getattr(second, name)
    tables = [pd.read_csv(folder / "history.csv").drop(columns=TIMED) for folder in folders]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


CHANGES = {
    "plain": {},
    "averaged": {"ema_decay": 0.8, "log_every": 3},
    "accumulated": {"accumulate_steps": 2, "batch_size": 3},
    "last, sgd": {"selection": "last", "optimizer": "sgd"},
    "mutual": {"model": {"stream": "mutual", "distractor": "other"}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_that_stops_after_every_single_step_ends_as_one_that_never_stops(
    tmp_path: Path, name: str
) -> None:
    config = make_run_config(epochs=2, **CHANGES[name])
    expected = run(config, tmp_path / "whole")
    for _ in range(20):
        try:
            result = run(config, tmp_path / "pieces", stop_after=2)
        except TrainingStopped:
            continue
        break
    assert_same(expected, result, tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_a_run_that_stops_once_ends_as_one_that_never_stops(
    tmp_path: Path, stop_after: int
) -> None:
    """At every place: after a step, after an epoch, after the last one."""
    config = make_run_config(epochs=2)
    expected = run(config, tmp_path / "whole")
    with pytest.raises(TrainingStopped, match="asked to; the last good checkpoint is .*step-0"):
        run(config, tmp_path / "pieces", stop_after=stop_after)
    result = run(config, tmp_path / "pieces")
    assert_same(expected, result, tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_run_that_breaks_between_checkpoints_repeats_what_was_lost(
    tmp_path: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run_config(epochs=2)
    expected = run(config, tmp_path / "whole")
    seen = iter(range(100))
    original = History.on_train_batch_end

    def break_late(*arguments: Any) -> None:
        original(*arguments)
        if next(seen) == 4:
            raise error("here")

    with monkeypatch.context() as patch, pytest.raises((SystemExit, error)):
        patch.setattr("dcal.training.callbacks.History.on_train_batch_end", break_late)
        run(config, tmp_path / "pieces")
    result = run(config, tmp_path / "pieces")
    assert_same(expected, result, tmp_path / "whole", tmp_path / "pieces")


def test_a_sigterm_while_the_split_is_scored_is_left_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would end the process there, with exit status 0 and no checkpoint."""
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    original = DCALModule.validation_step

    def validation_step(self, batch, batch_index):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_index)

    try:
        monkeypatch.setattr(DCALModule, "validation_step", validation_step)
        result = run(make_run_config(), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.num_steps == 6 and len(got) > 2


def test_a_finished_run_is_given_again_without_a_step(tmp_path: Path) -> None:
    config = make_run_config()
    first = run(config, tmp_path / "a")
    (tmp_path / "a" / "history.csv").rename(tmp_path / "history.csv")
    second = run(config, tmp_path / "a", stop_after=1)
    assert_same(first, second, tmp_path, tmp_path / "a")


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_run_config()
    expected = run(config, tmp_path / "whole")
    with pytest.raises(TrainingStopped):
        run(config, tmp_path / "pieces", stop_after=5)
    folder = CheckpointFolder(tmp_path / "pieces" / "checkpoints")
    newest, before = folder.list_checkpoints()
    content = bytearray(newest.path.read_bytes())
    content[len(content) // 2] ^= 1
    newest.path.write_bytes(content)
    result = run(config, tmp_path / "pieces")
    assert_same(expected, result, tmp_path / "whole", tmp_path / "pieces")
    assert "is damaged" in caplog.text and "the one before is used" in caplog.text
    assert newest.path.with_suffix(".damaged").is_file() and before.step == newest.step - 1


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_or_weight_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DCALModule.training_step

    def training_step(self, batch, batch_index):
        loss = original(self, batch, batch_index)
        if self.trainer.global_step == 3:
            if broken == "loss":
                return loss * float("nan")
            loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss

    monkeypatch.setattr(DCALModule, "training_step", training_step)
    what = "the loss" if broken == "loss" else "a weight"
    message = rf"{what} became infinite or no number at step 4 \(epoch 2\); .*\(step 3\)\. Lower"
    with pytest.raises(TrainingBroken, match=message):
        run(make_run_config(log_every=1), tmp_path)
    newest = CheckpointFolder(tmp_path / "checkpoints").find_newest()
    assert newest is not None and newest.step == 3
    weights = torch.load(newest.path, weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_checkpoints_wait_for_their_time_and_the_last_is_always_written(tmp_path: Path) -> None:
    run(make_run_config(checkpoint_minutes=60.0), tmp_path)
    checkpoints = CheckpointFolder(tmp_path / "checkpoints").list_checkpoints()
    assert [checkpoint.step for checkpoint in checkpoints] == [6]


def test_random_states_come_back_as_they_were() -> None:
    states = collect_random_states()
    drawn = [random.random(), np.random.rand(), torch.rand(1).item()]
    restore_random_states(states)
    assert [random.random(), np.random.rand(), torch.rand(1).item()] == drawn


def test_a_checkpoint_holds_nothing_that_would_have_to_be_run(tmp_path: Path) -> None:
    run(make_run_config(ema_decay=0.5), tmp_path)
    (checkpoint, *_) = CheckpointFolder(tmp_path / "checkpoints").list_checkpoints()
    content = torch.load(checkpoint.path, weights_only=True)
    assert {"state_dict", "optimizer_states", "lr_schedulers", "loops", "means"} <= set(content)
