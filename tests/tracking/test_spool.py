from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcal.tracking import list_spools, remove_spool
from dcal.tracking.journal import Journal
from dcal.tracking.spool import Spool, State, find_spool, spool_root
from tests.tracking.conftest import RUN_KEY


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(spool_root(tmp_path) / RUN_KEY)
    journal = Journal(spool)
    for step in range(3):
        journal.append({"kind": "metrics", "step": step, "time": 0, "values": {"loss": 0.5}})
    journal.close()
    return spool


def deliver(spool: Spool, num_entries: int) -> None:
    ends = [line.end for line in spool.read_lines()]
    spool.write_state(State("a" * 32, ends[num_entries - 1]))


def test_spools_are_listed_with_what_waits_and_how_large_they_are(
    spool: Spool, tmp_path: Path
) -> None:
    deliver(spool, 2)
    (spool.files / "0a").mkdir(parents=True)
    (spool.files / "0a" / "figure.png").write_bytes(b"x" * 1000)
    for path in spool.folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert not spool.is_being_sent()
    (summary,) = list_spools(tmp_path)
    assert (summary.run_key, summary.run_id, summary.num_waiting) == (RUN_KEY, "a" * 32, 1)
    assert 1000 < summary.num_bytes < 2000
    assert summary.last_change.timestamp() == 1e9


def test_a_work_root_without_spools_lists_none(tmp_path: Path) -> None:
    assert list_spools(tmp_path) == []


def test_only_a_delivered_spool_that_nobody_sends_is_removed(spool: Spool) -> None:
    with pytest.raises(ValueError, match="3 entries still wait for MLflow; run: make sync"):
        remove_spool(spool)
    deliver(spool, 3)
    with spool.sender_lock(), pytest.raises(ValueError, match="a running process still sends it"):
        remove_spool(spool)
    assert spool.is_delivered()
    remove_spool(spool)
    assert not spool.folder.exists()


def test_an_unfinished_line_is_not_read(spool: Spool) -> None:
    with open(spool.journal, "ab") as stream:
        stream.write(b'{"kind":"metr')
    assert spool.num_waiting == 3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run_id": null}x', '{"offset": 1, "more": 2}'])
def test_a_broken_state_means_from_the_start(
    text: str, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    (spool.folder / "state.json").write_text(text)
    assert spool.read_state() == State(None, 0)
    assert "all is sent again" in caplog.text


def test_a_key_that_climbs_out_of_the_spools_is_not_taken() -> None:
    with pytest.raises(AssertionError):
        find_spool("../elsewhere")
