"""What finished trainings gave is kept whole, and what is damaged is set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcal.config import Config, load_config
from pipelines.ablate.store import (
    FOLDER,
    Finished,
    find_finished,
    find_ratio,
    keep_finished,
    keep_ratio,
    make_key,
)

FINISHED = Finished(
    fingerprint="feed",
    epochs=2,
    steps=4,
    seconds=1.5,
    selected_epoch=1,
    scores={"test/sa/top1_accuracy": 0.5},
    curves=[{"epoch": 0, "train/loss": float("nan")}],
)


@pytest.fixture
def config(repository: Path) -> Config:
    return load_config(repository / "params.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path))
    return tmp_path / FOLDER


def test_what_was_kept_is_found(config: Config) -> None:
    assert find_finished(make_key("feed", config)) is None and find_ratio("key") is None
    keep_finished(make_key("feed", config), FINISHED)
    keep_ratio("key", 1.75)
    found = find_finished(make_key("feed", config))
    assert found is not None and found.scores == FINISHED.scores
    assert find_ratio("key") == 1.75


def test_other_settings_of_evaluate_are_another_result(config: Config) -> None:
    keep_finished(make_key("feed", config), FINISHED)
    other = config.evaluate.model_copy(update={"memory_mb": config.evaluate.memory_mb + 1})
    assert find_finished(make_key("feed", config.model_copy(update={"evaluate": other}))) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fingerprint": "feed"}', "\0"])
def test_a_damaged_result_is_set_aside_and_told_once(
    content: str, config: Config, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_finished(make_key("feed", config), FINISHED)
    (path,) = folder.glob("feed-*.json")
    path.write_text(content)
    assert [find_finished(make_key("feed", config)) for _ in range(2)] == [None, None]
    assert [message.endswith("what it held is made again") for message in caplog.messages] == [True]
    assert path.with_suffix(".damaged").read_text() == content
    keep_finished(make_key("feed", config), FINISHED)
    assert find_finished(make_key("feed", config)) is not None


@pytest.mark.parametrize("content", ["", "-1.0", "many", "{}"])
def test_a_damaged_ratio_is_measured_again(content: str, folder: Path) -> None:
    keep_ratio("key", 1.75)
    (folder / "ratio-key.json").write_text(content)
    assert find_ratio("key") is None
