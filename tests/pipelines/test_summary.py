from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import summary


def test_the_summary_has_a_row_for_every_scored_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    summary.METRICS.parent.mkdir(parents=True)
    metrics = {"test/sa/top1_accuracy": 0.875, "test/sa/ece": 0.03125, "test/num_scored": 6}
    summary.METRICS.write_text(json.dumps(metrics))
    summary.main()
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if "0.8750" in line]
    assert "sa" in row and "0.0312" in row
    assert "glca" not in said
    assert "reports/report.html" in said
    assert "warning" not in said


@pytest.mark.parametrize(
    ("warnings", "heading"),
    [
        ([], None),
        (["only [bold] one", "only [bold] one"], "1 warning"),
        ([f"number {i}\n" + "long " * 80 for i in range(30)], "30 warnings"),
    ],
)
def test_the_summary_ends_with_each_warning_of_the_run_on_one_line(
    warnings: list[str],
    heading: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, content in ((summary.METRICS, {}), (summary.RECORD, {"warnings": warnings})):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    summary.main()
    lines = capsys.readouterr().out.rstrip().splitlines()
    last = lines[next(i for i, line in enumerate(lines) if line.startswith("curves")) + 1 :]
    if heading is None:
        assert last == []
    else:
        expected = [f"  {' '.join(text.split())}" for text in dict.fromkeys(warnings)]
        assert last == [heading, *expected]


def test_without_results_the_summary_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="is missing; run: dvc repro"):
        summary.main()
