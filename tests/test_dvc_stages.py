"""What dvc.yaml says a stage depends on, against what its code imports."""

from __future__ import annotations

import ast
import configparser
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcal.config import Config, TrainConfig
from pipelines.train import CODE
from tests.project import ROOT, STAGES

OPT_IN = ("tune", "ablate")  # of a pipeline of their own
# Imported by most stages, and no part of what it computes.
EXEMPT = {
    "dcal/config.py": "its content is in params",
    "dcal/batch_rules.py": "says what is wrong with params",
    "dcal/config_errors.py": "says what is wrong with params",
    "dcal/disk.py": "puts files in their place",
    "dcal/paths.py": "names and writes files",
    "dcal/tracking": "tells MLflow what was computed",
    "dcal/mistakes.py": "says which errors are told in a sentence",
    "dcal/section_files.py": "reads a plan or a grid, which is a dep",
    "dcal/processor.py": "prepares the processor, as the versions of torch and its kin do",
    "dcal/sentences.py": "keeps messages short",
    "dcal/write_errors.py": "words for a write that failed",
    "dcal/yaml_text.py": "reads params.yaml, whose content is in params",
    "pipelines/guard.py": "one process a stage, which leaves with its DVC",
    "pipelines/inputs.py": "refuses a result of edited inputs",
    "pipelines/lock_file.py": "keeps a whole dvc.lock",
    "pipelines/processes.py": "starts and ends processes, whose number is in params",
    "pipelines/stage.py": "turns errors into sentences",
}
# Imported along with something else that the stage does use.
EXEMPT_IN = {
    "evaluate": {"dcal/losses": "branches.py names a type of it; scores need no loss"},
    "rollout": {"dcal/losses": "branches.py names a type of it; rollouts need no loss"},
    "tune": {
        "pipelines/compose.py": "names best.yaml and reads the head of params.yaml",
        "dcal/data/sources/__init__.py": "compose checks options with it",
        "dcal/data/official.py": "named by sources/__init__.py",
        "dcal/data/remote_file.py": "named by official.py",
    },
    "report": {"dcal/losses": "branches.py names a type of it; rollouts need no loss"},
}
# Chosen by name at run time (for fetch, those that draw stand for all sources), or run in a kernel.
DRAWN = ("dcal/data/sources/birds.py", "dcal/data/sources/vehicles.py")
SOURCES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "dcal/data/sources").glob("[a-z]*.py"))
)
LOADED_BY_NAME: dict[str, tuple[str, ...]] = {
    "fetch": DRAWN,
    "prepare": (*SOURCES, "dcal/data/sources/_matlab_reader.py"),
    "report": (
        "notebooks/01_tour_of_the_data.py",
        "notebooks/02_rollout.py",
        "notebooks/03_pwca_as_regulariser.py",
        "notebooks/05_ablations.py",
    ),
}


def read_stages() -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for pipeline in ("dvc.yaml", *(f"pipelines/{name}/dvc.yaml" for name in OPT_IN)):
        stages |= yaml.safe_load((ROOT / pipeline).read_text(encoding="utf-8"))["stages"]
    return stages


def find_module(name: str) -> Path | None:
    place = ROOT / name.replace(".", "/")
    found = [path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()]
    return found[0] if found else None


@cache
def list_imports(path: Path) -> frozenset[Path]:
    """Return the project's files that a file imports anywhere but for its annotations."""
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        nodes += ast.iter_child_nodes(node)
    # dcal/__init__.py imports on request only, so it brings nothing by being imported.
    found = {find_module(name) for name in names} - {None, ROOT / "dcal" / "__init__.py"}
    return frozenset(found)


def list_imported_files(stage: str) -> set[str]:
    """Return all files that a stage's module imports, directly or not, itself included."""
    place = f"pipelines/{stage}/__main__.py" if stage in OPT_IN else f"pipelines/{stage}.py"
    places = [place, *LOADED_BY_NAME.get(stage, ())]
    waiting = [ROOT / place for place in places]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += list_imports(path)
    return {path.relative_to(ROOT).as_posix() for path in seen if holds_code(path)}


def holds_code(path: Path) -> bool:
    """Say whether a file has more than a docstring, which is all that most __init__.py have."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not isinstance(node, ast.Expr) for node in body)


def is_below(path: str, places: list[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def list_deps(stage: str) -> list[str]:
    deps: list[str] = read_stages()[stage]["deps"]
    types = [Path(place).stem for place in LOADED_BY_NAME.get(stage, ()) if place in SOURCES]
    chosen = [dep.replace("${dataset.source_type}", name) for dep in deps for name in types or [""]]
    return list(dict.fromkeys(chosen))


@pytest.mark.parametrize("stage", [*STAGES, *OPT_IN])
def test_a_stage_depends_on_every_file_that_it_imports(stage: str) -> None:
    allowed = [*list_deps(stage), *EXEMPT, *EXEMPT_IN.get(stage, {})]
    missing = [path for path in list_imported_files(stage) if not is_below(path, allowed)]
    assert missing == []


@pytest.mark.parametrize("stage", [*STAGES, *OPT_IN])
def test_a_stage_names_no_code_that_it_does_not_use(stage: str) -> None:
    files = list_imported_files(stage)
    code = [dep for dep in list_deps(stage) if dep.startswith(("dcal", "notebooks", "pipelines"))]
    assert [dep for dep in code if not any(is_below(path, [dep]) for path in files)] == []


def test_exemptions_are_needed() -> None:
    everything = {stage: list_imported_files(stage) for stage in (*STAGES, *OPT_IN)}
    for place in EXEMPT:
        assert any(is_below(path, [place]) for files in everything.values() for path in files)
    for stage, places in EXEMPT_IN.items():
        for place in places:
            assert any(is_below(path, [place]) for path in everything[stage])


def test_every_out_that_can_hold_pictures_goes_where_the_data_set_says() -> None:
    outs = [out for stage in read_stages().values() for out in stage.get("outs", [])]
    told = {path: flags for out in outs if isinstance(out, dict) for path, flags in out.items()}
    for path in ("data/raw/${dataset.name}", "runs/rollout"):
        assert told[path] == {"remote": "${dataset.remote}"}
    # The name that dcal/config.py allows, and a folder of the clone's own behind it.
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    assert config["'remote \"private\"'"]["url"] == "private"


def test_the_code_of_a_fingerprint_is_the_code_that_training_depends_on() -> None:
    listed = {dep for dep in list_deps("train") if dep.startswith(("dcal", "pipelines"))}
    assert listed == {f"dcal/{place}" for place in CODE} | {"pipelines/train.py"}


def test_params_are_keys_of_the_tree() -> None:
    for stage in read_stages().values():
        for key in (key for key in stage["params"] if isinstance(key, str)):
            section = Config
            for part in key.split("."):
                section = section.model_fields[part].annotation


def test_training_depends_on_every_key_of_train_that_can_change_its_result() -> None:
    keys = {f"train.{name}" for name in TrainConfig.model_fields}
    listed = {key for key in read_stages()["train"]["params"] if key.startswith("train.")}
    assert keys - listed == {"train.workers", "train.log_every", "train.checkpoint_minutes"}
