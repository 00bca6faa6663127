"""Set-up, and the files that say which packages there are."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from pipelines.environment import (
    find_drift,
    read_pins,
    read_requirements,
    render_conda_environment,
)

PIN = "colorama==0.4.6\n"
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo {version} ;;
  *ensurepip*) exit {venv} ;;
  --version) echo Python {version}.9 ;;
  *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-m pip"*) echo "$*" >> pip.log; {pip} ;;
esac
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_setup(tmp_path: Path, repository: Path) -> Run:
    """Return a function that runs `make setup` in a copy, with a python and a df of its own."""
    project, fakes = tmp_path / "project", tmp_path / "fakes"
    (project / ".ci").mkdir(parents=True)
    fakes.mkdir()
    shutil.copy(repository / "Makefile", project)
    shutil.copy(repository / ".ci" / "setup", project / ".ci")
    (project / "requirements.lock").write_text(PIN)
    (project / "pyproject.toml").write_text('name = "project"\n')

    def run(
        *, version: str = "3.11", venv: int = 0, free_kib: int = 1 << 30, pip: str = "true"
    ) -> subprocess.CompletedProcess[str]:
        python = FAKE_PYTHON.format(version=version, venv=venv, pip=pip)
        df = f"#!/bin/sh\necho header\necho disk 0 0 {free_kib} 0 /\n"
        for name in ("python3.11", "python3", "python"):
            (fakes / name).write_text(python)
        (fakes / "df").write_text(df)
        for path in fakes.iterdir():
            path.chmod(0o755)
        # Under `make test` a make below would take over its flags and say where it is.
        environment = {key: text for key, text in os.environ.items() if key[:4] != "MAKE"}
        environment["PATH"] = f"{fakes}:/usr/bin:/bin"
        return subprocess.run(
            ["make", "setup"], cwd=project, env=environment, capture_output=True, text=True
        )

    return run


def test_setup_installs_the_lock_then_the_project_without_a_network(
    run_setup: Run, tmp_path: Path
) -> None:
    done = run_setup()
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "project" / "pip.log").read_text().splitlines()
    assert len(calls) == 2
    assert calls[0].endswith("-r requirements.lock")
    assert "--no-deps --no-build-isolation --editable ." in calls[1]


def test_a_second_setup_does_nothing(run_setup: Run, tmp_path: Path) -> None:
    run_setup()
    before = (tmp_path / "project" / "pip.log").read_text()
    again = run_setup(pip="exit 1", free_kib=0)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert (tmp_path / "project" / "pip.log").read_text() == before


def test_a_changed_lock_is_installed(run_setup: Run, tmp_path: Path) -> None:
    run_setup()
    (tmp_path / "project" / "requirements.lock").write_text(PIN + "six==1.17.0\n")
    assert run_setup().returncode == 0
    assert len((tmp_path / "project" / "pip.log").read_text().splitlines()) == 4


def test_a_new_command_of_the_project_is_installed_without_making_all_anew(
    run_setup: Run, tmp_path: Path
) -> None:
    run_setup()
    (tmp_path / "project" / "pyproject.toml").write_text("[project.scripts]\n")
    assert run_setup().returncode == run_setup().returncode == 0
    calls = (tmp_path / "project" / "pip.log").read_text().splitlines()
    assert len(calls) == 3 and "--editable ." in calls[2]


def test_an_interrupted_setup_is_not_taken_for_a_whole_one(run_setup: Run, tmp_path: Path) -> None:
    broken = run_setup(pip="kill -9 $$")
    assert broken.returncode != 0
    assert (tmp_path / "project" / ".venv" / "bin" / "python").exists()
    (tmp_path / "project" / "pip.log").unlink()
    assert run_setup().returncode == 0
    assert len((tmp_path / "project" / "pip.log").read_text().splitlines()) == 2


def test_an_environment_of_another_folder_is_not_emptied_through_a_link(
    run_setup: Run, tmp_path: Path
) -> None:
    other, link = tmp_path / "other", tmp_path / "project" / ".venv"
    (other / "bin").mkdir(parents=True)
    (other / ".made-from").write_text("0123 /elsewhere\n")
    link.symlink_to(other)
    done = run_setup()
    assert done.returncode != 0
    assert f"setup: .venv is a link to {other}, which was not made here" in done.stderr
    assert (other / ".made-from").read_text() == "0123 /elsewhere\n"
    assert not (tmp_path / "project" / "pip.log").exists()
    # An empty folder on another disk is as good as one here, at first and ever after.
    shutil.rmtree(other)
    other.mkdir()
    assert run_setup().returncode == 0
    (tmp_path / "project" / "requirements.lock").write_text("colorama==0.4.5\n")
    assert run_setup().returncode == 0


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ({"version": "3.9"}, "expected Python 3.11 as python3.11 or python3, found Python 3.9.9"),
        ({"venv": 1}, "python3.11 has no venv module; install it"),
        ({"free_kib": 2 << 20}, "expected 8 GiB of free disk space for .venv, found 2 GiB"),
        ({"pip": "exit 1"}, "pip could not install requirements.lock, see above"),
    ],
)
def test_what_stops_setup_is_one_sentence(
    faults: dict[str, object], sentence: str, run_setup: Run, tmp_path: Path
) -> None:
    done = run_setup(**faults)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert said[0].startswith(f"setup: {sentence}")
    assert not (tmp_path / "project" / ".venv" / ".made-from").exists()


def test_make_help_lists_every_target_that_a_user_runs(repository: Path) -> None:
    done = subprocess.run(["make", "help"], cwd=repository, capture_output=True, text=True)
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    wanted = {"repro", "test", "test-slow", "check", "ui", "lab", "compose", "bench", "lock"}
    assert wanted <= listed


def test_the_lock_and_environment_yml_agree_with_pyproject(repository: Path) -> None:
    assert find_drift(repository) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("requirements.lock", "timm==1", "timm==7", "has timm 7"),
        ("requirements.lock", "einops==", "einopt==", "has no einops"),
        ("environment.yml", "python=3.11", "python=3.12", "environment.yml is not what"),
        ("pyproject.toml", '"requests>=2.32"', '"requests>=2.33"', "environment.yml is not what"),
    ],
)
def test_drift_is_named(
    name: str, old: str, new: str, message: str, repository: Path, tmp_path: Path
) -> None:
    for copied in ("requirements.lock", "environment.yml", "pyproject.toml"):
        shutil.copy(repository / copied, tmp_path)
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    assert any(message in line for line in find_drift(tmp_path))


def test_the_lock_pins_versions_and_names_no_address(repository: Path) -> None:
    text = (repository / "requirements.lock").read_text()
    assert "://" not in text
    assert "--" not in text
    assert len(read_pins(repository / "requirements.lock")) == len(text.splitlines()) > 200


def test_environment_yml_is_yaml_that_names_every_requirement(repository: Path) -> None:
    from ruamel.yaml import YAML

    tree = YAML(typ="safe").load(render_conda_environment(repository / "pyproject.toml"))
    assert tree["name"] == "dcal"
    *conda, pip = tree["dependencies"]
    assert conda == ["python=3.11", "pip", "git", "make"]
    requirements = [str(entry) for entry in read_requirements(repository / "pyproject.toml")]
    assert pip["pip"] == ["-c requirements.lock", *requirements, "-e ."]


def test_every_imported_package_is_asked_for(repository: Path) -> None:
    asked = {
        canonicalize_name(entry.name) for entry in read_requirements(repository / "pyproject.toml")
    }
    distributions = packages_distributions()
    own = {"dcal", "pipelines", "benchmarks", "tests"}
    missing = set()
    for folder in ("dcal", "pipelines", "benchmarks", "tests"):
        for path in (repository / folder).rglob("*.py"):
            for name in find_imports(path) - own - sys.stdlib_module_names:
                homes = {canonicalize_name(home) for home in distributions.get(name, [name])}
                if not homes & asked:
                    missing.add(f"{path.relative_to(repository)}: {name}")
    assert sorted(missing) == []


def find_imports(path: Path) -> set[str]:
    """Return the top names of a file's absolute imports, those inside functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names
