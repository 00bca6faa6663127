"""The guards that the settings of the tools promise are really up."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from dcal.attention.selection import gather_rows


def test_annotated_shapes_are_checked_while_tests_run() -> None:
    with pytest.raises(TypeCheckError):
        gather_rows(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.long))


def test_a_warning_is_an_error() -> None:
    with pytest.raises(UserWarning, match="odd"):
        warnings.warn("odd", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("place", "line", "contract"),
    [
        ("dcal/attention/rollout.py", "import dcal.config", "The method is tensors only"),
        ("dcal/metrics/classification.py", "import dcal.models.heads", "Data flows one way"),
        ("dcal/training/fit.py", "import mlflow", "One door to MLflow"),
        ("dcal/data/index.py", "import timm", "One door to timm"),
        ("dcal/data/index.py", "import pipelines.fetch", "The library does not know"),
    ],
)
def test_an_import_against_the_rules_breaks_its_contract(
    place: str, line: str, contract: str, repository: Path, tmp_path: Path
) -> None:
    for name in ("dcal", "pipelines"):
        for path in (repository / name).rglob("*.py"):
            target = tmp_path / path.relative_to(repository)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text())
    (tmp_path / "pyproject.toml").write_text((repository / "pyproject.toml").read_text())
    (tmp_path / place).write_text((tmp_path / place).read_text() + f"\n{line}\n")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    broken = [entry for entry in done.stdout.splitlines() if " BROKEN" in entry]
    assert any(entry.startswith(contract) for entry in broken), done.stdout
