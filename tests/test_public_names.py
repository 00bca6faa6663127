"""What `import dcal` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dcal


def test_importing_dcal_loads_none_of_the_heavy_packages(repository: Path) -> None:
    heavy = "{'torch', 'timm', 'lightning', 'mlflow', 'pandas', 'matplotlib', 'pydantic'}"
    code = f"import sys, dcal; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0


def test_the_public_names_are_those_of_their_modules() -> None:
    from dcal.config import load_config
    from dcal.inference.opening import load_model
    from dcal.models import build_model

    assert dcal.load_config is load_config
    assert dcal.build_model is build_model
    assert dcal.load_model is load_model
    assert set(dcal.__all__) <= set(dir(dcal))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dcal' has no attribute 'bild_model'"):
        dcal.bild_model  # noqa: B018


def test_the_version_is_the_projects(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert dcal.__version__ == project["version"]
