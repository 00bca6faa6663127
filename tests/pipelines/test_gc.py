"""The command that shows and frees training state."""

from __future__ import annotations

import pytest

from dcal.training.retention import list_kept_runs
from pipelines import gc
from tests.training.test_retention import make_run


def test_the_rule_is_followed_and_everything_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("aaaa", is_finished=True, idle_days=2)
    make_run("bbbb", is_finished=False)
    gc.main()
    said = capsys.readouterr().out
    assert "aaaa" in said and "freed" in said and "bbbb" in said and "kept" in said
    assert [run.name for run in list_kept_runs()] == ["bbbb"]


def test_a_dry_run_frees_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("aaaa", is_finished=True, idle_days=2)
    gc.main(dry_run=True)
    assert "would be freed" in capsys.readouterr().out
    assert len(list_kept_runs()) == 1


def test_named_runs_go_whatever_their_age() -> None:
    make_run("aaaa", is_finished=False)
    make_run("abbb", is_finished=False)
    gc.main(["ab"])
    assert [run.name for run in list_kept_runs()] == ["aaaa"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    make_run("aaaa", is_finished=False)
    with pytest.raises(SystemExit, match="gc: ffff: no run begins so; kept are: aaaa"):
        gc.main(["ffff"])


def test_a_running_one_is_refused_by_name_and_left_out_of_all() -> None:
    folder = make_run("aaaa", is_finished=True)
    make_run("bbbb", is_finished=False)
    with folder.hold():
        with pytest.raises(SystemExit, match="aaaa: is being trained; stop it first"):
            gc.main(["aaaa"])
        gc.main(everything=True)
    assert [run.name for run in list_kept_runs()] == ["aaaa"]


def test_sizes_are_readable() -> None:
    assert [gc.format_bytes(n) for n in (12, 12_000, 12_000_000, 12e9)] == [
        "12 bytes",
        "12 kB",
        "12 MB",
        "12.0 GB",
    ]
