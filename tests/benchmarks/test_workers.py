"""The benchmark of workers, without its processes."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from benchmarks import empty_worker, workers

ROOT = Path(__file__).resolve().parents[2]


def test_an_empty_worker_spends_its_trials_and_tells_how_long_each_part_took(
    ready_studies: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    url = f"sqlite:///{tmp_path / 'work' / 'optuna.db'}"
    monkeypatch.setenv("DCAL_OPTUNA_URL", url)
    monkeypatch.setattr(sys, "argv", ["empty_worker", "2"])
    monkeypatch.setattr(empty_worker.logging, "disable", lambda level: None)
    empty_worker.main()
    assert set(json.loads(capsys.readouterr().out)) == {"import", "open", "trials"}
    assert [trial.state for trial in workers.read_trials(url)] == [TrialState.COMPLETE] * 2


def test_a_rate_counts_from_the_first_begin_to_the_last_end() -> None:
    begun = datetime(2026, 1, 1)
    trials = [create_trial(value=0.0) for _ in range(2)]
    for number, trial in enumerate(trials):
        trial.datetime_start = begun + timedelta(seconds=number)
        trial.datetime_complete = begun + timedelta(seconds=3 + number)
    assert workers._find_span(trials) == 4


def test_the_table_has_a_line_for_each_figure() -> None:
    record = {
        "trials_an_hour": {"1": {"trials_an_hour": 90.0, "with_start": 60.0}},
        "load": {"journal": {"trials": 9, "trials_a_second": 3.5, "errors": 0}},
        "start_seconds": {"python": 0.02},
    }
    assert [line.split()[-1] for line in workers.render(record).splitlines()] == (
        ["start", "60", "errors", "0", "seconds", "0.02"]
    )
