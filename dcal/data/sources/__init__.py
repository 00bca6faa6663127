"""The data sets: each module of this package reads one official layout (ours).

A data set is one module here and one YAML under experiments/dataset. `dataset.source_type` is the
module's name, so nothing else has to be edited. A module holds what the protocol `Source` names:

    class Options(Section): ...                    # the keys of dataset.options, all required
    def fetch(dataset, target) -> None: ...        # fill the empty folder `target`
    def build_table(dataset, root) -> SourceTable  # list the pictures below `root`

and, where it reads a published set,

    def describe(dataset) -> OfficialSet | None    # its page, terms, files and counts

Modules whose names start with an underscore are not data sets.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, cast

import pandas as pd
from pydantic import ValidationError

from dcal.config import ConfigError, DatasetConfig, Section
from dcal.config_errors import describe_errors
from dcal.data.official import OfficialSet

OptionsType = TypeVar("OptionsType", bound=Section)


@dataclass(frozen=True)
class SourceTable:
    """What a source knows about its pictures before any of them is opened.

    `table` has one row a picture: path (relative to the raw root, with forward slashes), split and
    label, and any of the optional columns of `dcal.data.index`; width, height, sha256 and
    class_name are filled in from the files and from `class_names`. Row order does not matter.
    """

    table: pd.DataFrame
    class_names: list[str]  # in label order
    part_names: list[str] = field(default_factory=list)  # a mask's pixel value i + 1 is part i
    discriminative_parts: list[str] = field(default_factory=list)  # of those, what tells apart
    # What was left out or looks odd, each one sentence with its count.
    warnings: list[str] = field(default_factory=list)


class Source(Protocol):
    """One data set's layout; a module of this package is one."""

    # A module's class is seen as a callable attribute, hence a property.
    @property
    def Options(self) -> type[Section]:  # noqa: N802
        """Name the keys of `dataset.options`."""

    def fetch(self, dataset: DatasetConfig, target: Path) -> None:
        """Fill the empty folder `target` with the pictures and their annotation."""

    def build_table(self, dataset: DatasetConfig, root: Path) -> SourceTable:
        """List the pictures below the raw root."""


def list_sources() -> list[str]:
    """Return the valid values of `dataset.source_type`."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def get_source(dataset: DatasetConfig) -> Source:
    """Return the module that reads this data set's layout.

    Raises:
        ConfigError: No module of that name; the message lists those that exist.
    """
    names = list_sources()
    if dataset.source_type not in names:
        near = difflib.get_close_matches(dataset.source_type, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"dataset.source_type: expected one of {', '.join(names)}; "
            f"got {dataset.source_type!r}; {hint}A new one is a module of dcal/data/sources"
        )
    return cast(Source, importlib.import_module(f"{__name__}.{dataset.source_type}"))


def describe_source(dataset: DatasetConfig) -> OfficialSet | None:
    """Return what the data set officially is; None = drawn, or the user's own.

    Raises:
        ConfigError: An unknown source type, or options that it does not take.
    """
    describe = getattr(get_source(dataset), "describe", None)
    if describe is None:
        return None
    official: OfficialSet | None = describe(dataset)
    return official


def check_options(dataset: DatasetConfig) -> None:
    """Check `dataset.options` against what the source takes.

    Raises:
        ConfigError: An unknown source type or option, or a mistyped value.
    """
    parse_options(dataset, get_source(dataset).Options)


def parse_options(dataset: DatasetConfig, options_type: type[OptionsType]) -> OptionsType:
    """Return `dataset.options` as the source's own type.

    Raises:
        ConfigError: An unknown key (with the nearest valid name), or a mistyped value.
    """
    try:
        return options_type.model_validate(dataset.options)
    except ValidationError as error:
        message = describe_errors(error, options_type, origin="dataset.options")
        raise ConfigError(message) from None
