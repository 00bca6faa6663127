"""The command behind the embedded backbone, and the files that it left here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dcal.data.synthetic import PART_NAMES
from dcal.models.pico import create_pico
from dcal.models.weights import EMBEDDED_WEIGHTS
from dcal.paths import compute_file_digest
from dcal.training.pretrain import PretrainOptions
from pipelines.pretrain import SMOKE, app, compute_drawing_digest


def test_the_command_writes_weights_and_log(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--smoke", "--folder", str(tmp_path)])

    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dcal_pico.json",
        "dcal_pico.safetensors",
    ]
    log = json.loads((tmp_path / "dcal_pico.json").read_text(encoding="utf-8"))
    assert PretrainOptions.model_validate_json(json.dumps(log["options"])) == SMOKE
    assert log["weights_sha256"] == compute_file_digest(tmp_path / "dcal_pico.safetensors")
    assert log["history"][-1]["step"] == SMOKE.steps


@pytest.fixture
def embedded_log() -> dict[str, object]:
    """Return the committed log of the embedded weights."""
    log: dict[str, object] = json.loads(
        EMBEDDED_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8")
    )
    return log


def test_the_embedded_weights_are_those_of_their_log(embedded_log: dict[str, object]) -> None:
    options = PretrainOptions.model_validate_json(json.dumps(embedded_log["options"]))
    assert options == PretrainOptions()
    assert embedded_log["weights_sha256"] == compute_file_digest(EMBEDDED_WEIGHTS)
    assert EMBEDDED_WEIGHTS.stat().st_size < 6_000_000


def test_the_embedded_weights_saw_the_drawing_as_it_is_now(
    embedded_log: dict[str, object],
) -> None:
    assert embedded_log["drawing_sha256"] == compute_drawing_digest(PretrainOptions())


def test_the_embedded_weights_are_all_of_dcal_pico_in_single_precision() -> None:
    tensors = load_file(EMBEDDED_WEIGHTS)
    expected = create_pico().state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_the_log_shows_that_every_part_was_learned(embedded_log: dict[str, object]) -> None:
    history = embedded_log["history"]
    assert isinstance(history, list)
    assert history[-1]["loss"] < 0.25 * history[0]["loss"]
    assert min(history[-1][part] for part in PART_NAMES) > 0.8
