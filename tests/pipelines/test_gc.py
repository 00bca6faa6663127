"""The command that shows and frees training state."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from dcal.paths import cached_root, work_root
from dcal.tracking.journal import Journal
from dcal.tracking.spool import Spool, State, spool_root
from dcal.training.retention import DAY_SECONDS, list_kept_runs
from dcal.write_errors import WriteError
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
    with pytest.raises(SystemExit, match="gc: ffff: nothing kept begins so; kept are: aaaa"):
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


def make_spool(name: str, *, is_delivered: bool, idle_days: float = 0.0) -> Spool:
    spool = Spool(spool_root(work_root()) / (name * 32)[:32])
    journal = Journal(spool)
    journal.append({"kind": "metrics", "step": 1, "time": 0, "values": {"loss": 0.5}})
    journal.close()
    if is_delivered:
        spool.write_state(State("a" * 32, spool.journal.stat().st_size))
    then = time.time() - idle_days * DAY_SECONDS
    for path in spool.folder.iterdir():
        os.utime(path, (then, then))
    return spool


def list_names() -> list[str]:
    return [entry.name[:4] for entry in gc.list_kept()]


def test_a_spool_goes_a_month_after_mlflow_has_all_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_spool("a", is_delivered=True, idle_days=31)
    make_spool("b", is_delivered=True, idle_days=29)
    make_spool("c", is_delivered=False, idle_days=400)
    gc.main()
    assert set(list_names()) == {"bbbb", "cccc"}
    assert "1 wait for" in " ".join(capsys.readouterr().out.split())


def test_what_mlflow_does_not_have_is_freed_by_no_word(tmp_path: Path) -> None:
    make_spool("a", is_delivered=True)
    waiting = make_spool("c", is_delivered=False)
    with pytest.raises(SystemExit, match="cc: 1 entries wait for MLflow; run: make sync"):
        gc.main(["cc"])
    gc.main(everything=True)
    assert list_names() == ["cccc"] and waiting.num_waiting == 1


def test_a_spool_that_is_being_sent_stays() -> None:
    spool = make_spool("a", is_delivered=True, idle_days=99)
    with spool.sender_lock():
        gc.main()
        gc.main(everything=True)
    assert list_names() == ["aaaa"]


def test_a_spool_that_is_taken_up_while_gc_runs_stays() -> None:
    spool = make_spool("a", is_delivered=True, idle_days=99)
    (entry,) = gc.list_kept()
    with spool.sender_lock():
        assert entry.free() == 0
    assert spool.journal.is_file()


def test_where_nothing_can_be_written_what_is_kept_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("aaaa", is_finished=False)
    make_spool("b", is_delivered=True)

    def refuse(self: FileLock, *arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self.lock_file))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    gc.main(dry_run=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "aaaa" in said and "bbbb" in said and "freed 0 bytes" in said
    with pytest.raises(WriteError, match="read-only"):
        gc.main(["aaaa"])


def make_cache(name: str, *, idle_days: float = 0.0) -> Path:
    folder = cached_root() / name
    folder.mkdir(parents=True)
    then = time.time() - idle_days * DAY_SECONDS
    for file in ("pixels.bin", "pixels.json"):
        (folder / file).write_bytes(b"x" * 600)
        os.utime(folder / file, (then, then))
    return folder


def test_resized_pictures_go_a_month_after_they_were_last_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_run("aaaa", is_finished=False)
    old, new = make_cache("mine_of_old", idle_days=31), make_cache("mine", idle_days=29)
    gc.main()
    said = " ".join(capsys.readouterr().out.split())
    assert "cached/mine_of_old" in said and "1 kB" in said and "freed 1 kB" in said
    assert (old.exists(), new.exists()) == (False, True)
    gc.main(["cached/mine"])
    assert not new.exists() and len(list_kept_runs()) == 1
