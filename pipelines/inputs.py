"""What a stage read, by dvc.yaml, at its start and at its end (ours).

DVC notes parameters and dependencies after a command has ended. What is edited meanwhile would
stand in dvc.lock as what made the result, and `dvc status` would say that all is up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dcal.config import ConfigError, read_yaml
from dcal.paths import compute_file_digest

PARAMS, PIPELINE = Path("params.yaml"), Path("dvc.yaml")
MAX_NAMED = 5
_VARIABLE = re.compile(r"\$\{([\w.]+)\}")

Inputs = dict[str, Any]


def read_inputs(stage: str, pipeline: Path = PIPELINE) -> Inputs:
    """Return what dvc.yaml says that a stage reads: parameters by key, files by their digest.

    Stages of another pipeline than dvc.yaml run in this folder, too.

    Data folders are left out: their index, which has a digest, stands for them. Empty where there
    is no dvc.yaml, since then nothing is recorded either.
    """
    if not pipeline.is_file():
        return {}
    entry = yaml.safe_load(pipeline.read_text(encoding="utf-8"))["stages"][stage]
    inputs: Inputs = {}
    params: dict[str, Any] = {}
    for file, keys in _list_params(entry.get("params", [])):
        tree = read_yaml(file)
        params |= tree
        for key in keys:
            inputs |= dict(_flatten(_look_up(tree, key), f"{file}: {key}"))
    for place in entry.get("deps", []):
        path = Path(_VARIABLE.sub(lambda match: str(_look_up(params, match[1])), place))
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            inputs[str(file)] = compute_file_digest(file) if file.is_file() else None
    return inputs


def require_unchanged(
    stage: str,
    before: Inputs,
    *,
    hint: str = "run dvc repro again",
    pipeline: Path = PIPELINE,
) -> None:
    """Compare with what the stage reads now.

    Raises:
        RuntimeError: Something was edited; DVC is not to record this result.
    """
    try:
        after = read_inputs(stage, pipeline)
    except ConfigError as error:
        raise RuntimeError(
            f"stage {stage} is not recorded, because params.yaml was edited while it ran and can "
            f"no longer be read ({error}); {hint}"
        ) from None
    changed = [
        _describe(name, before.get(name), after.get(name))
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    ]
    if changed:
        more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
        raise RuntimeError(
            f"stage {stage} is not recorded, because what it reads was edited while it ran: "
            f"{'; '.join(changed[:MAX_NAMED])}{more}; {hint}"
        )


def _describe(name: str, before: Any, after: Any) -> str:
    if ".yaml: " in name:
        return f"{name} was {before!r} and is {after!r}"
    return name


def _list_params(entries: list[Any]) -> Iterator[tuple[Path, list[str]]]:
    """Yield files and their keys; params.yaml, which need not be named, comes first and always."""
    yield PARAMS, [entry for entry in entries if isinstance(entry, str)]
    for entry in entries:
        if isinstance(entry, Mapping):
            yield from ((Path(file), list(keys)) for file, keys in entry.items())


def _look_up(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{name}.{key}")
    else:
        yield name, value
