"""Every command tells what it does, with an example, and at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from dcal.cli.app import app

NAMES = sorted(typer.main.get_command(app).commands)


def test_the_commands_are_those_of_the_readme() -> None:
    assert NAMES == [
        "check", "embed", "explain", "export", "info", "predict", "register", "search",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_of_its_own(name: str) -> None:
    said = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout
    assert f"Example: dcal {name}" in said


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from dcal.cli.app import app; import dcal; "
        "heavy = {'torch', 'pandas', 'numpy', 'mlflow', 'matplotlib', 'timm', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
