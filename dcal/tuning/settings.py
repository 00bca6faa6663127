"""How a study is run: its goals, its budget, who is pruned, and what is tried first (ours)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dcal.config import Config, Count, PositiveFloat, Section, Seed
from dcal.tuning.parameters import Scalar

COST_KEY = "cost/inference_gmacs"
Direction = Literal["maximize", "minimize"]


class Budget(Section):
    """When no further trial is begun; the first limit that is met counts."""

    num_trials: Count | None  # finished ones in all, over all workers and all starts
    minutes: PositiveFloat | None  # of each start

    @model_validator(mode="after")
    def _ends(self) -> Budget:
        if self.num_trials is None and self.minutes is None:
            raise ValueError("expected num_trials or minutes; got null for both")
        return self


class Hyperband(Section):
    """Stop trials that are behind; a resource is an epoch, counted from 1."""

    kind: Literal["hyperband"]
    min_epochs: Count  # that every trial gets
    max_epochs: Count | None  # null = train.epochs
    reduction_factor: Annotated[int, Field(ge=2)]  # 1 of so many goes on at each rung

    def find_max_epochs(self, base: Config) -> int:
        """Return the epochs of a trial that is never stopped."""
        return self.max_epochs or base.train.epochs


class NoPruning(Section):
    """Train every trial to its end."""

    kind: Literal["none"]


class FinalRound(Section):
    """Who is trained anew at the end, because the best of many trials was lucky, too."""

    num_configs: Annotated[int, Field(ge=0)] = 3  # the best ones, beside the paper's and the config
    num_seeds: Count = 3  # other ones than the trials'


Pruner = Annotated[Hyperband | NoPruning, Field(discriminator="kind")]


class StudySettings(Section):
    """The section `study` of a plan."""

    name: Annotated[str, Field(max_length=64)]
    # One score of the held-out split; or two goals, one of which may be the cost of inference.
    objectives: dict[str, Direction]
    budget: Budget
    pruner: Pruner
    sampler_seed: Seed
    enqueue: list[dict[str, Scalar]]  # tried first, after the paper's settings
    final: FinalRound = FinalRound()

    @property
    def score_key(self) -> str:
        """Return the objective that decides where one has to: the first that is no cost."""
        return next(key for key in self.objectives if key != COST_KEY)

    @property
    def is_larger_better(self) -> bool:
        """Say so of `score_key`."""
        return self.objectives[self.score_key] == "maximize"

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError("expected letters, digits, dots, dashes and underscores, no blanks")
        return name

    @field_validator("objectives")
    @classmethod
    def _are_goals(cls, objectives: dict[str, Direction]) -> dict[str, Direction]:
        if len(objectives) not in (1, 2):
            raise ValueError(f"expected one objective or two, got {len(objectives)}")
        for key, direction in objectives.items():
            if key == COST_KEY and direction == "maximize":
                raise ValueError(f"{COST_KEY}: expected minimize")
            if key != COST_KEY and not key.startswith("val/"):
                raise ValueError(
                    f"{key}: expected a score of the held-out split, val/..., or {COST_KEY}; what "
                    "is chosen by the test split cannot be tested on it"
                )
        if list(objectives) == [COST_KEY]:
            raise ValueError(f"expected a score beside {COST_KEY}, or the cheapest model is best")
        return objectives

    @model_validator(mode="after")
    def _can_be_pruned(self) -> StudySettings:
        if len(self.objectives) > 1 and self.pruner.kind != "none":
            raise ValueError(
                f"pruner: expected kind none with two objectives, because there is no order by "
                f"which to stop a trial; got {self.pruner.kind}"
            )
        return self
