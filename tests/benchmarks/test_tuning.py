"""The benchmark of a study's driver, on few trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tuning import KINDS, measure
from dcal.tuning.plan import load_plan

ROOT = Path(__file__).resolve().parents[2]


def test_each_kind_is_timed_over_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for variable in ("DCAL_WORK_ROOT", "DCAL_OPTUNA_URL"):
        monkeypatch.setenv(variable, "")  # put back at the end
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = measure(load_plan("experiments/tune/loss_and_top_r.yaml"), num_trials=2)
    assert set(found["milliseconds"]) == set(KINDS)
    for times in found["milliseconds"].values():
        assert times["first_half"] > 0 and times["second_half"] > 0
    assert set(found["overhead"]) == {"first_half", "second_half"}
