from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcal.tracking.journal import Journal
from dcal.tracking.spool import Entry, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def metrics(step: int, **values: float) -> Entry:
    return {"kind": "metrics", "step": step, "time": step * 1000, "values": values}


def scores(time: int, **values: float) -> Entry:
    return {"kind": "scores", "step": 0, "time": time, "values": values}


def read(spool: Spool) -> list[Entry | None]:
    return [line.entry for line in spool.read_lines()]


def test_a_process_that_goes_on_writes_only_points_after_the_last_one_of_their_key(
    spool: Spool,
) -> None:
    first = Journal(spool)
    for step in (1, 2, 3):
        first.append(metrics(step, loss=1.0 / step))
    first.append(metrics(2, top1=0.5))
    resumed = Journal(spool)
    assert not resumed.append(metrics(3, loss=9.0))
    assert resumed.append(metrics(3, loss=9.0, top1=0.6))
    assert read(spool)[-1] == metrics(3, top1=0.6)
    assert [entry["step"] for entry in read(spool) if entry and "loss" in entry["values"]] == [
        1,
        2,
        3,
    ]


def test_a_score_is_written_again_only_with_another_value_and_then_later(spool: Spool) -> None:
    journal = Journal(spool)
    for time, value in ((500, 0.5), (600, 0.5), (100, 0.4), (100, 0.4), (100, math.nan)):
        journal.append(scores(time, top1=value))
    assert not Journal(spool).append(scores(900, top1=math.nan))
    written = [(entry["time"], entry["values"]["top1"]) for entry in read(spool) if entry]
    assert written[:2] == [(500, 0.5), (501, 0.4)]
    assert written[2][0] == 502 and math.isnan(written[2][1])


def test_values_come_back_bit_for_bit(spool: Spool) -> None:
    values = {"a": 0.1 + 0.2, "b": 5e-324, "c": -0.0, "d": math.inf, "e": 1e308}
    Journal(spool).append(metrics(0, **values))
    (entry,) = read(spool)
    assert entry is not None
    assert {key: value.hex() for key, value in entry["values"].items()} == {
        key: value.hex() for key, value in values.items()
    }


@pytest.mark.parametrize("left", [1, 20, 50])
def test_a_line_that_was_cut_by_a_kill_is_taken_off_and_written_again(
    left: int, spool: Spool
) -> None:
    journal = Journal(spool)
    journal.append(metrics(1, loss=1.0))
    whole = spool.journal.read_bytes()
    journal.append(metrics(2, loss=0.5))
    spool.journal.write_bytes(spool.journal.read_bytes()[: len(whole) + left])
    assert read(spool) == [metrics(1, loss=1.0)]
    assert Journal(spool).append(metrics(2, loss=0.5))
    assert read(spool) == [metrics(1, loss=1.0), metrics(2, loss=0.5)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(cut=st.integers(min_value=0), extra=st.binary(max_size=30))
def test_whatever_a_crash_leaves_at_the_end_a_journal_opens_and_goes_on(
    cut: int, extra: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spool = Spool(tmp_path_factory.mktemp("any") / "spool")
    journal = Journal(spool)
    for step in range(4):
        journal.append(metrics(step, loss=float(step)))
    journal.close()
    whole = spool.journal.read_bytes()
    spool.journal.write_bytes(whole[: cut % (len(whole) + 1)] + extra)
    again = Journal(spool)
    for step in range(6):
        again.append(metrics(step, loss=float(step)))
    again.close()
    steps = [entry["step"] for entry in read(spool) if entry and entry["kind"] == "metrics"]
    assert steps == [0, 1, 2, 3, 4, 5]


def test_an_unreadable_line_in_the_middle_hides_nothing_after_it(spool: Spool) -> None:
    Journal(spool).append(metrics(1, loss=1.0))
    with open(spool.journal, "ab") as stream:
        stream.write(b"\0\0\0\n[1]\n")
    Journal(spool).append(metrics(2, loss=0.5))
    assert read(spool) == [metrics(1, loss=1.0), None, None, metrics(2, loss=0.5)]


def test_two_writers_see_what_the_other_wrote(spool: Spool) -> None:
    one, other = Journal(spool), Journal(spool)
    assert one.append(metrics(1, loss=1.0))
    assert not other.append(metrics(1, loss=2.0))
    assert other.append({"kind": "params", "values": {"a": "1"}})
    assert one.append({"kind": "params", "values": {"a": "2", "b": "3"}})
    assert one.known.params == {"a": "1", "b": "3"}


WRITER = """
import sys
from pathlib import Path
from dcal.tracking.journal import Journal
from dcal.tracking.spool import Spool
journal = Journal(Spool(Path(sys.argv[1])))
for step in range(200):
    journal.append({"kind": "metrics", "step": step, "time": 0, "values": {"loss": 0.5}})
    journal.append({"kind": "metrics", "step": step, "time": 0, "values": {sys.argv[2]: 0.5}})
"""


def test_processes_that_write_together_lose_and_double_nothing(
    spool: Spool, repository: Path
) -> None:
    command = [sys.executable, "-c", WRITER, str(spool.folder)]
    writers = [subprocess.Popen([*command, name], cwd=repository) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    seen: dict[str, list[int]] = {}
    for entry in read(spool):
        assert entry is not None
        for key in entry["values"]:
            seen.setdefault(key, []).append(entry["step"])
    assert seen["a"] == seen["b"] == list(range(200))
    # The faster of the two writes each shared point, and steps only go forward.
    assert seen["loss"] == sorted(set(seen["loss"]))
    assert seen["loss"][-1] == 199


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "create", "experiment": "e", "name": "n", "tags": {"t": "1"}, "start_time": 0},
        {"kind": "tags", "values": {"t": "1"}},
        {"kind": "params", "values": {"p": "1"}},
        {"kind": "dataset", "name": "finches", "digest": "d"},
        {"kind": "file", "file": "files/0a/notes.txt", "folder": "config", "digest": "d"},
        {"kind": "status", "status": "FAILED", "time": 0},
    ],
    ids=lambda entry: entry["kind"],
)
def test_what_was_said_is_not_said_again_but_its_change_is(
    entry: dict[str, Any], spool: Spool
) -> None:
    assert Journal(spool).append(entry)
    assert not Journal(spool).append(json.loads(json.dumps(entry)))
    changed = {
        "tags": {"values": {"t": "2"}},
        "params": {"values": {"q": "1"}},
        "dataset": {"digest": "e"},
        "file": {"digest": "e"},
        "status": {"status": "RUNNING"},
        "create": {},
    }[entry["kind"]]
    assert Journal(spool).append(entry | changed) == bool(changed)


def test_a_full_disk_leaves_no_half_line(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(spool)
    journal.append(metrics(1, loss=1.0))
    before = spool.journal.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:7]))
    with pytest.raises(OSError, match="the disk is full"):
        journal.append(metrics(2, loss=0.5))
    assert spool.journal.read_bytes() == before
    monkeypatch.undo()
    assert journal.append(metrics(2, loss=0.5))
    assert read(spool) == [metrics(1, loss=1.0), metrics(2, loss=0.5)]
