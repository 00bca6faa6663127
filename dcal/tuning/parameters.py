"""One searched key: its range or its choices, and when it is searched (ours)."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol, TypeGuard

from pydantic import Field, field_validator, model_validator

from dcal.config import Count, FiniteFloat, PositiveFloat, Section

Scalar = bool | int | FiniteFloat | str | None


class Suggesting(Protocol):
    """What a trial of Optuna offers."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a number of a range."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Return a whole number of a range."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of the choices."""


class _Conditional(Section):
    # Searched only while each of these keys has one of these values; a condition on a key that
    # is itself not searched at the moment does not hold.
    when: dict[str, list[Scalar]] = {}

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, conditions: Any) -> Any:
        if not isinstance(conditions, dict):
            return conditions
        return {k: v if isinstance(v, list) else [v] for k, v in conditions.items()}


class FloatParameter(_Conditional):
    """A number of [low, high]."""

    kind: Literal["float"]
    low: FiniteFloat
    high: FiniteFloat
    log: bool = False
    step: PositiveFloat | None = None  # low, low + step, ..., high

    @model_validator(mode="after")
    def _is_a_range(self) -> FloatParameter:
        _check_ends(self.low, self.high)
        if self.log and (self.step is not None or self.low <= 0):
            raise ValueError("log: expected low above 0 and no step")
        if self.step is not None:
            _check_step(self.low, self.high, self.step)
        return self

    def suggest(self, trial: Suggesting, key: str) -> float:
        """Return a value; with a step it is the decimal number, 0.3 and not 0.30000000000000004."""
        value = trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)
        if self.step is None:
            return value
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return float(low + step * round((Decimal(value) - low) / step))

    def holds(self, value: Scalar) -> bool:
        """Say whether a value is in the range."""
        if not _is_number(value) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        num_steps = (value - self.low) / self.step
        return math.isclose(num_steps, round(num_steps), abs_tol=1e-8)

    def list_edges(self) -> list[Scalar]:
        """Return the values that the config tree is tried with."""
        return [self.low, self.high]


class IntParameter(_Conditional):
    """A whole number of [low, high]."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: Count = 1

    @model_validator(mode="after")
    def _is_a_range(self) -> IntParameter:
        _check_ends(self.low, self.high)
        if self.log and (self.step != 1 or self.low <= 0):
            raise ValueError("log: expected low above 0 and no step")
        _check_step(self.low, self.high, self.step)
        return self

    def suggest(self, trial: Suggesting, key: str) -> int:
        """Return a value."""
        return trial.suggest_int(key, self.low, self.high, log=self.log, step=self.step)

    def holds(self, value: Scalar) -> bool:
        """Say whether a value is in the range."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def list_edges(self) -> list[Scalar]:
        """Return the values that the config tree is tried with."""
        return [self.low, self.high]


class CategoricalParameter(_Conditional):
    """One of several values."""

    kind: Literal["categorical"]
    choices: list[Scalar]

    @model_validator(mode="after")
    def _has_a_choice(self) -> CategoricalParameter:
        if len(self.choices) < 2:
            raise ValueError(
                f"choices: expected two at least; got {self.choices}. One value is no search: set "
                "it in params.yaml"
            )
        # 1, 1.0 and true are the same choice to Optuna.
        twice = [value for i, value in enumerate(self.choices) if value in self.choices[:i]]
        if twice:
            raise ValueError(f"choices: {twice[0]!r} is given twice")
        return self

    def suggest(self, trial: Suggesting, key: str) -> Scalar:
        """Return a value."""
        return trial.suggest_categorical(key, self.choices)

    def holds(self, value: Scalar) -> bool:
        """Say whether a value is one of the choices."""
        return any(value == choice and type(value) is type(choice) for choice in self.choices)

    def list_edges(self) -> list[Scalar]:
        """Return the values that the config tree is tried with."""
        return list(self.choices)


Parameter = Annotated[
    FloatParameter | IntParameter | CategoricalParameter, Field(discriminator="kind")
]


def _check_ends(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"expected low below high; got the empty range {low} to {high}")
    if low == high:
        raise ValueError(
            f"expected low below high; got {low} for both. One value is no search: set it in "
            "params.yaml"
        )


def _check_step(low: float, high: float, step: float) -> None:
    # Optuna would lower `high` to the last step, with a warning.
    width = Decimal(str(high)) - Decimal(str(low))
    if width % Decimal(str(step)):
        raise ValueError(f"step: expected {step} to divide high - low, which is {width}")


def _is_number(value: Scalar) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
