"""A checked tree and an environment for the tests of tracking."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcal.config import Config, load_config
from dcal.tracking import Environment


@pytest.fixture
def config(repository: Path) -> Config:
    """Return the committed parameters."""
    return load_config(repository / "params.yaml", ["dataset.name=finches", "model.top_r=0.3"])


@pytest.fixture
def environment() -> Environment:
    """Return an environment that says what the tests expect."""
    return Environment(
        git_commit="0123abc",
        git_dirty=False,
        dvc_exp_name=None,
        versions={"torch": "2.14.1"},
        device="cpu",
        threads=1,
    )
