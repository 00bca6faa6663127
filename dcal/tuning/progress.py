"""How far a study is: trials that count, and the best so far (ours)."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from dcal.tuning.settings import StudySettings

OOM = "oom"  # user attribute: what was said where memory ran out
EPOCHS = "epochs"  # user attribute: epochs that were scored, where none is told to a pruner
REASON = "reason"  # user attribute: why a trial failed


def find_origin(trial: FrozenTrial) -> int:
    """Return the number of the trial that this one goes on with, which names its checkpoints."""
    history = list_retried(trial)
    return history[0] if history else trial.number


def list_retried(trial: FrozenTrial) -> list[int]:
    """Return the numbers of the trials that this one goes on with, the first one first."""
    history: list[int] = trial.system_attrs.get("retry_history", [])
    return history


def list_counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that a budget counts: begun ones, a trial and its retries as one."""
    retried = {number for trial in trials for number in list_retried(trial)}
    return [
        trial
        for trial in trials
        if trial.state is not TrialState.WAITING and trial.number not in retried
    ]


def describe_progress(study: optuna.Study, settings: StudySettings) -> str:
    """Return one line: how many trials ended how, and the best so far."""
    trials = list_counted(study.get_trials(deepcopy=False))
    states = [trial.state for trial in trials]
    num_done = len(states) - states.count(TrialState.RUNNING)
    of = f" of {settings.budget.num_trials}" if settings.budget.num_trials else ""
    parts = [f"{num_done}{of} trials"]
    for state, name in (
        (TrialState.PRUNED, "pruned"),
        (TrialState.FAIL, "failed"),
        (TrialState.RUNNING, "running"),
    ):
        if states.count(state):
            parts.append(f"{states.count(state)} {name}")
    if num_oom := sum(OOM in trial.user_attrs for trial in trials):
        parts.append(f"{num_oom} out of memory")
    return f"{', '.join(parts)}; {_describe_best(study, settings)}"


def _describe_best(study: optuna.Study, settings: StudySettings) -> str:
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return "none finished yet"
    names = list(settings.objectives)
    best = study.best_trials
    if len(names) > 1:
        return f"{len(best)} on the Pareto front of {' and '.join(names)}"
    return f"best {names[0]} {best[0].values[0]:.4g} (trial {best[0].number})"
