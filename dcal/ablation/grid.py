"""A grid's file in experiments/grid/: a baseline, its arms, and the seeds of each (ours)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from dcal.config import PositiveFloat, Section, Seed
from dcal.section_files import read_section
from dcal.tuning.parameters import Scalar

SAME_TIME = "_same_time"  # at the end of the name of an arm that trains as long as the baseline


class GridError(ValueError):
    """A grid that cannot be run; the message is one sentence."""


class Grid(Section):
    """What is trained: the baseline and each arm, once a seed."""

    question: Annotated[str, Field(min_length=1)]
    baseline: Annotated[str, Field(min_length=1)]  # what params.yaml, with `base`, is called
    arms: list[str] = []  # files of experiments/ablation, without .yaml
    vary: dict[str, list[Scalar]] = {}  # an arm for each value of each key
    # Arms that are also trained for as many epochs as the baseline's time pays for.
    same_time: list[str] = []
    seeds: Annotated[list[Seed], Field(min_length=1)]
    hours: PositiveFloat | None  # of each start; null = until all is done
    # What all trainings of the grid have otherwise than params.yaml, such as fewer epochs.
    base: dict[str, Scalar] = {}

    @field_validator("baseline")
    @classmethod
    def _is_a_word(cls, name: str) -> str:
        if not re.fullmatch(r"\w+", name):
            raise ValueError("expected one word of letters, digits and underscores")
        return name

    @field_validator("arms")
    @classmethod
    def _are_words(cls, names: list[str]) -> list[str]:
        wrong = [name for name in names if not re.fullmatch(r"\w+", name)]
        if wrong:
            raise ValueError(f"expected names of files in experiments/ablation, got {wrong[0]!r}")
        return names

    @field_validator("arms", "same_time", "seeds")
    @classmethod
    def _are_distinct(cls, entries: list[str] | list[int]) -> list[str] | list[int]:
        twice = [entry for i, entry in enumerate(entries) if entry in entries[:i]]
        if twice:
            raise ValueError(f"expected each once, got {twice[0]} twice")
        return entries

    @field_validator("vary")
    @classmethod
    def _have_values(cls, vary: dict[str, list[Scalar]]) -> dict[str, list[Scalar]]:
        empty = [key for key, values in vary.items() if not values]
        if empty:
            raise ValueError(f"{empty[0]}: expected one value or more, got none")
        return vary

    @model_validator(mode="after")
    def _compares_something(self) -> Grid:
        if not self.arms and not self.vary:
            raise ValueError("expected arms or vary; got neither, so there is nothing to compare")
        unknown = [name for name in self.same_time if name not in self.arms]
        if unknown:
            raise ValueError(f"same_time: expected some of arms, got {unknown[0]}")
        names = [self.baseline, *self.arms, *(f"{name}{SAME_TIME}" for name in self.same_time)]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"expected a name for each arm, got {twice[0]} twice")
        if "seed" in self.base or "seed" in self.vary:
            raise ValueError("seed: expected in seeds, which every arm is trained with")
        return self


def load_grid(path: str | Path) -> Grid:
    """Read a grid.

    Raises:
        GridError: No such file, or a key, type or value that is wrong.
    """
    return read_section(Path(path), Grid, GridError)
