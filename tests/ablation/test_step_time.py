"""Step times, compared in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcal.ablation import step_time
from dcal.ablation.step_time import measure_step_ratio
from dcal.config import load_config

ROOT = Path(__file__).resolve().parents[2]


def test_the_ratio_is_the_median_of_pairs_and_the_first_pair_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    # One pair to warm up, then ratios 2, 4 and 3.
    seconds = iter([100.0, 1.0, 2.0, 1.0, 4.0, 1.0, 6.0, 2.0])

    def step() -> None:
        now[0] += next(seconds)

    monkeypatch.setattr(step_time, "_build_step", lambda config, num_classes: step)
    monkeypatch.setattr(step_time.time, "perf_counter", lambda: now[0])
    config = load_config(ROOT / "params.yaml")
    assert measure_step_ratio(config, config, num_classes=3, rounds=3) == 3.0


@pytest.mark.parametrize("distractor", ["any", "noise"])
def test_a_step_of_each_kind_runs(distractor: str) -> None:
    overrides = [
        "train.batch_size=2",
        "train.precision=fp32",
        f"model.distractor={distractor}",
    ]
    config = load_config(ROOT / "params.yaml", overrides)
    other = load_config(
        ROOT / "params.yaml", [*overrides, "model.glca_blocks=0", "model.pwca_blocks=0"]
    )
    assert measure_step_ratio(config, other, num_classes=3, rounds=1) > 0
