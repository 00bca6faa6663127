"""`make bench` runs each part, and says what the bars are."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as suite


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    ran: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        assert check
        ran.append(command)
        Path(command[4]).write_text(json.dumps({"rows": []}))

    monkeypatch.setattr(suite.subprocess, "run", run)
    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    return ran


def test_all_parts_run_and_write_where_they_do_not_meet(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--rounds", "3"])
    suite.main()
    assert [command[2] for command in commands] == [f"benchmarks.{part}" for part in suite.PARTS]
    assert len({command[4] for command in commands}) == len(suite.PARTS)
    assert [("--rounds", "3") == tuple(command[-2:]) for command in commands] == [
        *(True, True, True, True),
        *(False, False, False, False),
    ]
    assert "DeiT-Tiny, beside plain timm" in capsys.readouterr().out


def test_one_part_can_be_asked_for(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "growth"])
    suite.main()
    (command,) = commands
    assert command[2] == "benchmarks.growth"


@pytest.mark.parametrize("part", suite.PARTS)
def test_each_part_takes_what_it_is_given(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"benchmarks.{part}")
    monkeypatch.setattr(sys, "argv", [part, "--output", "x.json", *suite.PARTS[part]])
    parsed = module._parse_arguments()
    assert str(parsed.output) == "x.json"
