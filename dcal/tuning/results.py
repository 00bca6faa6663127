"""What a study found, as tables: its trials, what mattered, the Pareto front (ours)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.exceptions import ExperimentalWarning
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
)
from optuna.trial import FrozenTrial, TrialState

from dcal.sentences import to_one_line
from dcal.tuning.driver import OVERRIDES
from dcal.tuning.objective import NOT_TRIED
from dcal.tuning.plan import Plan
from dcal.tuning.progress import EPOCHS, OOM, REASON, find_origin, list_counted
from dcal.tuning.settings import StudySettings

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
DIED = "its process died, each time that it was tried"
MIN_TRIALS = 4  # fewer say nothing about what mattered
_EVALUATORS: Mapping[str, Callable[[], BaseImportanceEvaluator]] = {
    "ped_anova": PedAnovaImportanceEvaluator,
    "fanova": lambda: FanovaImportanceEvaluator(seed=0),
}


def build_trials_table(study: optuna.Study, settings: StudySettings) -> pd.DataFrame:
    """Return a row a trial that the budget counts, by the number of its first attempt.

    Columns: number, state, the objectives, the searched keys (empty where not searched), epochs
    that were scored, seconds of the last attempt, reason where it has no value.
    """
    trials = list_counted(study.get_trials(deepcopy=False))
    rows = [_describe_trial(trial, list(settings.objectives)) for trial in trials]
    first, last = ["number", "state", *settings.objectives], ["epochs", "seconds", "reason"]
    searched = sorted({key for row in rows for key in row} - {*first, *last})
    table = pd.DataFrame(rows, columns=[*first, *searched, *last])
    return table.sort_values("number", ignore_index=True)


def describe_state(trial: FrozenTrial) -> tuple[str, str]:
    """Return a trial's state in a word, and why it has no value; that is empty where it has."""
    state = STATES.get(trial.state, "waiting")
    if trial.state is TrialState.PRUNED:
        epochs = max(trial.intermediate_values, default=0)
        return state, trial.user_attrs.get(OOM) or f"behind after {epochs} epochs"
    if trial.state is TrialState.FAIL:
        return state, trial.user_attrs.get(REASON, DIED)
    return state, ""


def has_told(trial: FrozenTrial) -> bool:
    """Say whether the process of a trial that ended lived to tell MLflow so."""
    _, reason = describe_state(trial)
    return reason != DIED and not reason.startswith(NOT_TRIED)


def build_front_table(table: pd.DataFrame, settings: StudySettings) -> pd.DataFrame:
    """Return the rows of complete trials that no other one beats in every objective."""
    done = table[table["state"] == "complete"]
    signs = [1.0 if way == "maximize" else -1.0 for way in settings.objectives.values()]
    scores = done[list(settings.objectives)].to_numpy(dtype=float) * signs
    kept = [not ((scores >= own).all(axis=1) & (scores > own).any(axis=1)).any() for own in scores]
    return done[np.array(kept, dtype=bool)].sort_values(settings.score_key, ignore_index=True)


def compute_importances(study: optuna.Study, plan: Plan) -> dict[str, Any]:
    """Return how much each searched key mattered for each objective, by two methods.

    Shares add up to 1 a method. The methods differ, and with few trials both are noise: `n` is
    how many finished trials they were computed from. Where they cannot be, a reason stands
    instead. PED-ANOVA asks what made the better trials better, fANOVA what made any differ.

    Keys that are searched under a condition are compared among the trials that met it: an entry
    of `conditional` for each condition, with the keys that are always searched beside them.
    """
    always = [key for key, parameter in plan.space.items() if not parameter.when]
    found = _compute_group(study, plan, always)
    found["conditional"] = []
    for when in _list_conditions(plan):
        keys = [key for key, parameter in plan.space.items() if parameter.when == when]
        group = _compute_group(study, plan, [*always, *keys])
        found["conditional"].append({"when": when, **group})
    return found


def _list_conditions(plan: Plan) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for parameter in plan.space.values():
        if parameter.when and parameter.when not in found:
            found.append(parameter.when)
    return found


def _compute_group(study: optuna.Study, plan: Plan, keys: list[str]) -> dict[str, Any]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    num_trials = sum(set(keys) <= trial.params.keys() for trial in complete)
    found: dict[str, Any] = {"n": num_trials, "importances": {}, "reasons": {}}
    for index, (name, direction) in enumerate(plan.study.objectives.items()):
        # PED-ANOVA takes low values for good ones, whatever the study's direction.
        sign = -1.0 if direction == "maximize" else 1.0
        for method, make in _EVALUATORS.items():
            shares: dict[str, float] = {}
            reason = None
            if not keys:
                reason = "every key is searched under a condition"
            elif num_trials < MIN_TRIALS:
                reason = f"expected {MIN_TRIALS} finished trials at least; got {num_trials}"
            else:
                shares, reason = _compute_shares(study, make, index, sign, keys)
            found["importances"].setdefault(name, {})[method] = shares
            if reason:
                found["reasons"].setdefault(name, {})[method] = reason
    return found


def _compute_shares(
    study: optuna.Study,
    make: Callable[[], BaseImportanceEvaluator],
    index: int,
    sign: float,
    keys: list[str],
) -> tuple[dict[str, float], str | None]:
    def get_value(trial: FrozenTrial) -> float:
        return sign * float(trial.values[index])

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", message=".*achieve low `target` values.*")
            # Equal shares that tell nothing, as where the better trials cannot be told apart.
            warnings.filterwarnings("error", message=".*importances will be equal.*")
            shares = optuna.importance.get_param_importances(
                study, evaluator=make(), target=get_value, params=keys
            )
    except (ValueError, RuntimeError, UserWarning) as error:  # such as: all values are equal
        return {}, to_one_line(str(error))
    return {key: float(share) for key, share in shares.items()}, None


def _describe_trial(trial: FrozenTrial, keys: list[str]) -> dict[str, Any]:
    state, reason = describe_state(trial)
    values = trial.values if trial.state is TrialState.COMPLETE else [None] * len(keys)
    duration = trial.duration
    return {
        "number": find_origin(trial),
        "state": state,
        **dict(zip(keys, values, strict=True)),
        **trial.user_attrs.get(OVERRIDES, {}),
        "epochs": max(trial.intermediate_values, default=trial.user_attrs.get(EPOCHS)),
        "seconds": None if duration is None else round(duration.total_seconds(), 1),
        "reason": reason,
    }
