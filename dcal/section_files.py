"""A YAML file of one pydantic model, such as a plan of a study or a grid of an ablation (ours)."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dcal.config_errors import describe_errors, name_keys
from dcal.yaml_text import YAMLTextError, parse_yaml

Model = TypeVar("Model", bound=BaseModel)


def read_section(path: Path, model: type[Model], mistake: type[ValueError]) -> Model:
    """Read a file into its model.

    Raises:
        ValueError: As `mistake`: no such file, no YAML, or a key, type or value that is wrong.
    """
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise mistake(f"{path}: no such file{name_near_files(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise mistake(f"{path}: cannot be read ({error})") from None
    except YAMLTextError as error:
        raise mistake(f"{path}: {error}") from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise mistake(f"{path}: expected the keys {name_keys(model)}; got {found}")
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise mistake(describe_errors(error, model, origin=str(path))) from None


def name_near_files(path: Path) -> str:
    """Return the end of a sentence that names the files beside one that is not there."""
    names = sorted(file.stem for file in path.parent.glob("*.yaml"))
    near = difflib.get_close_matches(path.stem, names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]}?" if near else ""
    return f"{hint}; there are {', '.join(names)}" if names else ""
