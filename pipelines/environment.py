"""Keep requirements.lock and environment.yml in step with pyproject.toml (ours).

Not a stage. pyproject.toml holds the ranges; requirements.lock pins them for Linux x86-64, and
environment.yml is generated from both.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dcal.paths import write_atomically

PROJECT = Path("pyproject.toml")
LOCK = Path("requirements.lock")
CONDA = Path("environment.yml")


def main(
    check: Annotated[bool, typer.Option("--check", help="compare, write nothing")] = False,
    lock: Annotated[bool, typer.Option("--lock", help="resolve all versions anew first")] = False,
) -> None:
    """Generate environment.yml; with --check, say what drifted."""
    if check:
        drift = find_drift(Path())
        if drift:
            sys.exit("\n".join(f"environment: {line}; run: make lock" for line in drift))
        return
    if lock:
        _write(LOCK, resolve_lock())
    _write(CONDA, render_conda_environment(PROJECT))


def find_drift(folder: Path) -> list[str]:
    """Name what does not agree: pins outside their ranges, or an old environment.yml."""
    pins = read_pins(folder / LOCK)
    drift = []
    for requirement in read_requirements(folder / PROJECT):
        version = pins.get(canonicalize_name(requirement.name))
        if version is None:
            drift.append(f"{LOCK} has no {requirement.name}, which {PROJECT} asks for")
        elif version not in requirement.specifier:
            drift.append(f"{LOCK} has {requirement.name} {version}, {PROJECT} asks {requirement}")
    conda = folder / CONDA
    wanted = render_conda_environment(folder / PROJECT)
    if not conda.is_file() or conda.read_text(encoding="utf-8") != wanted:
        drift.append(f"{CONDA} is not what {PROJECT} gives")
    return drift


def read_pins(path: Path) -> dict[str, str]:
    """Return the version of every package of a lock file, by canonical name."""
    lines = path.read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, version in (ln.split("==") for ln in lines)}


def read_requirements(path: Path) -> list[Requirement]:
    """Return all requirements of the project, those of its extras included, each once."""
    project = _read_project(path)
    texts = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    requirements = {text: Requirement(text) for text in texts}
    others = [entry for entry in requirements.values() if entry.name != project["name"]]
    return sorted(others, key=lambda entry: canonicalize_name(entry.name))


def render_conda_environment(path: Path) -> str:
    """Return environment.yml: conda gives Python, git and make, pip gives the pinned rest."""
    project = _read_project(path)
    minor = re.search(r">=\s*(\d+\.\d+)", project["requires-python"])
    assert minor is not None
    lines = [
        "# Generated from pyproject.toml by: python -m pipelines.environment",
        "# Use:  conda env create -f environment.yml && conda activate dcal",
        f"name: {project['name']}",
        "channels:",
        "  - conda-forge",
        "dependencies:",
        f"  - python={minor.group(1)}",
        "  - pip",
        "  - git",
        "  - make",
        "  - pip:",
        "      # The pins are for Linux x86-64; elsewhere, take this line out.",
        f'      - "-c {LOCK}"',
        *(f'      - "{requirement}"' for requirement in read_requirements(path)),
        '      - "-e ."',
    ]
    return "\n".join(lines) + "\n"


def resolve_lock() -> str:
    """Ask pip for one version of everything, without installing it."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--disable-pip-version-check", "--report", "-", ".[all]"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    installed: list[dict[str, Any]] = json.loads(answer.stdout)["install"]
    own_name = _read_project(PROJECT)["name"]
    pins = {
        canonicalize_name(entry["metadata"]["name"]): entry["metadata"]["version"]
        for entry in installed
    }
    return "".join(f"{name}=={pins[name]}\n" for name in sorted(pins) if name != own_name)


def _read_project(path: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return project


def _write(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
