"""The benchmark of commands runs what users run, and tells what follows from its times."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import commands
from tests.data.factory import write_picture
from tests.inference.model_files import write_model


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    for number in range(32):
        write_picture(tmp_path / "raw/birds/images" / f"{number}.png", seed=number)
    return commands.list_pictures(tmp_path / "raw", 32, tmp_path)


def test_times_of_processes_are_told_beyond_each_other(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def take_turns(functions, device: str, rounds: int):
        ran.extend(function.args[0] for function in functions)
        return [[0.1] * 3, [1.0, 2.0, 3.0], [1.25, 2.25, 9.0], [2.0, 3.0, 4.0], [0.2] * 3,
                [4.0] * 3, [7.1] * 3]  # fmt: skip

    monkeypatch.setattr(commands, "take_turns", take_turns)
    found = commands.measure_commands(tmp_path / "m.safetensors", pictures, tmp_path, 3)
    assert [each[1:3] for each in ran[4:6]] == [["-m", "dcal.cli"]] * 2
    assert found["import_dcal_beyond_torch"] == 0.25
    assert found["load_model_beyond_torch"] == 1.0
    assert found["seconds_a_picture"] == pytest.approx(0.1)
    assert "a picture beyond the first, of 32: 100.00 ms" in commands.format_commands(found)


def test_a_command_that_fails_is_no_time() -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        commands.run(["python", "-c", "raise SystemExit('no such thing')"])


def test_the_ways_to_predict_are_measured_in_turn(pictures: list[Path], tmp_path: Path) -> None:
    write_model(tmp_path / "model.safetensors")
    rows = commands.measure_onnx(tmp_path / "model.safetensors", pictures, tmp_path, 1)
    assert [(row["batch_size"], row["way"]) for row in rows] == [
        (batch, way)
        for batch in (1, 32)
        for way in ("torch, Pillow", "torch, the graph", "ONNX Runtime")
    ]
    assert rows[0]["ratio"] == 1.0 and all(row["seconds"] > 0 for row in rows)
    assert "ONNX Runtime" in commands.format_onnx(rows)


def test_too_few_pictures_are_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="expected 3 drawn pictures; found 0"):
        commands.list_pictures(tmp_path, 3, tmp_path)
