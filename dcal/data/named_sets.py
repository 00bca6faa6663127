"""A data set by its name: that of params.yaml, or a file of experiments/dataset (ours)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dcal.config import ConfigError, DatasetConfig, load_config, read_yaml
from dcal.config_errors import describe_errors
from dcal.data.sources import check_options
from dcal.section_files import name_near_files

PARAMS = Path("params.yaml")
DATASETS = Path("experiments/dataset")
MAX_DEPTH = 8  # of defaults that name defaults


def find_dataset(name: str | None, *, source: str | None = None) -> tuple[DatasetConfig, Path]:
    """Return a data set's section and the file that it stands in.

    None = that of params.yaml, which also stands for its own name. `source` takes the place of
    `dataset.source`.

    Raises:
        ConfigError: No such data set, or a file that cannot be used.
    """
    path = PARAMS
    dataset = load_config(PARAMS).dataset if name is None or PARAMS.is_file() else None
    if dataset is None or name not in (None, dataset.name):
        path = DATASETS / f"{name}.yaml"
        dataset = _read_file(path)
    if source is not None:
        dataset = dataset.model_copy(update={"source": source})
    check_options(dataset)
    return dataset, path


def _read_file(path: Path) -> DatasetConfig:
    if not os.path.isfile(path):  # not Path.is_file, which lets out that a name is too long
        raise ConfigError(
            f"{path}: expected the name of a file of {path.parent}{name_near_files(path)}"
        )
    try:
        return DatasetConfig.model_validate(_merge(path, depth=0))
    except ValidationError as error:
        raise ConfigError(describe_errors(error, DatasetConfig, origin=str(path))) from None


def _merge(path: Path, *, depth: int) -> dict[str, Any]:
    """Read a file over those that its defaults name, as composing does."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"{path}: its defaults name each other")
    own = dict(read_yaml(path))
    merged: dict[str, Any] = {}
    for name in _list_defaults(own.pop("defaults", None), path):
        other = path.with_name(f"{name}.yaml")
        part = own if name == "_self_" else _merge(other, depth=depth + 1)
        options = {**(merged.get("options") or {}), **(part.get("options") or {})}
        merged = {**merged, **part, "options": options}
    return merged


def _list_defaults(defaults: Any, path: Path) -> list[str]:
    if not isinstance(defaults, (list, type(None))) or not all(
        isinstance(name, str) for name in defaults or []
    ):
        raise ConfigError(
            f"{path}: expected a list of names in defaults, such as [folder, _self_]; got "
            f"{defaults!r:.80}"
        )
    names = list(defaults or [])
    # Where a file does not say when its own keys come, they come last.
    return names if "_self_" in names else [*names, "_self_"]
