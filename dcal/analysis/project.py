"""The project that a notebook tells of (ours)."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from dcal.config import Config, load_config


def open_project(folder: str | Path) -> Config:
    """Go into a project's folder, which paths start from, and return its settings.

    Args:
        folder: Where params.yaml lies. A relative one starts where the process was at the first
            call, so that a cell may run again.

    Raises:
        FileNotFoundError: There is no such folder, or no params.yaml in it.
        ConfigError: params.yaml is wrong.
    """
    place = _find_start() / folder
    if not (place / "params.yaml").is_file():
        found = "no params.yaml in it" if place.is_dir() else "no such folder"
        raise FileNotFoundError(
            f"project={str(folder)!r}: expected the folder of params.yaml, found {found}; set "
            "project to that folder, or make params.yaml there: python -m pipelines.compose"
        )
    os.chdir(place)
    return load_config("params.yaml")


@cache
def _find_start() -> Path:
    return Path.cwd()
