"""One trial: from its values to a training, and from what happens there to its state (ours)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import optuna
from optuna import Study as Study
from optuna import TrialPruned as TrialPruned
from optuna.exceptions import UpdateFinishedTrialError as UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as Trial

from dcal.config import Config
from dcal.sentences import to_one_line
from dcal.tuning.errors import TuningError
from dcal.tuning.failures import storage_errors
from dcal.tuning.progress import EPOCHS, OOM, REASON
from dcal.tuning.size import describe_size
from dcal.tuning.storage import make_retry_callback

NOT_TRIED = "not tried"  # how it begins what is said of a trial that was never begun
SIZE = "size"  # user attribute: what `describe_size` gives, where memory ran out

# Trains one config and returns its scores by metric key. It resumes from the checkpoints of
# `find_origin(trial)`, tells each epoch to `report_epoch`, and raises TrialFailed where these
# values cannot be trained, KeyboardInterrupt where it was asked to stop.
RunTrial = Callable[[Config, Trial], Mapping[str, float]]


class TrialFailed(Exception):
    """These values give no result, and others may: the study goes on."""


def get_frozen(trial: Trial) -> FrozenTrial:
    """Return a trial as the storage has it."""
    return trial.study.get_trials(deepcopy=False)[trial.number]


def report_epoch(trial: Trial, epoch: int, value: float) -> None:
    """Tell the pruner a score after an epoch, counted from 1.

    An epoch that the trial reported before it was interrupted is passed over, and so is every one
    of a study with two objectives, which prunes nothing.

    Raises:
        TrialPruned: The trial is behind.
        TuningError: The database fails.
    """
    # Told as our own, because after a mistake a trial keeps its checkpoints.
    with storage_errors():
        if len(trial.study.directions) > 1:
            trial.set_user_attr(EPOCHS, epoch)
            return
        if epoch in get_frozen(trial).intermediate_values:
            return
        trial.report(value, step=epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"after {epoch} epochs")


def score_trial(
    config: Config, trial: Trial, run_trial: RunTrial, objectives: Mapping[str, str]
) -> list[float]:
    """Run a trial and return its values, in the order of the objectives.

    What cannot be a value is noted in the trial and raised, with the state that follows from it:
    out of memory is pruned, because the same size would run out again.

    Raises:
        TrialPruned: The trial is behind, or memory ran out, now or in a trial of the same size.
        TrialFailed: A value is no number.
        Exception: Whatever else the training raises.
    """
    _refuse_size(config, trial)
    try:
        values = _pick_values(run_trial(config, trial), objectives)
    except (optuna.TrialPruned, UpdateFinishedTrialError):
        raise
    except Exception as error:
        said = to_one_line(f"{type(error).__name__}: {error}")
        if not is_out_of_memory(error):
            trial.set_user_attr(REASON, said)
            raise
        trial.set_user_attr(OOM, said)
        trial.set_user_attr(SIZE, describe_size(config))
        raise optuna.TrialPruned(said) from None
    return values


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out, on the device or on the host."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    import torch

    text = str(error).lower()
    said = "out of memory" in text or "can't allocate memory" in text
    return said or isinstance(error, torch.cuda.OutOfMemoryError)


def leave_for_later(study: optuna.Study, number: int, *, max_retry: int | None) -> None:
    """Enqueue a failed trial again, to go on from its checkpoints as the same trial."""
    failed = study.get_trials()[number]
    assert failed.state is TrialState.FAIL
    # The retry has not failed.
    failed.user_attrs.pop(REASON, None)
    make_retry_callback(max_retry)(study, failed)


def _refuse_size(config: Config, trial: Trial) -> None:
    size = describe_size(config)
    for other in trial.study.get_trials(deepcopy=False):
        if other.user_attrs.get(SIZE) == size:
            said = f"{NOT_TRIED}, because trial {other.number} of the same size ran out of memory"
            trial.set_user_attr(OOM, said)
            raise optuna.TrialPruned(said)


def _pick_values(scores: Mapping[str, float], objectives: Mapping[str, str]) -> list[float]:
    missing = [key for key in objectives if key not in scores]
    if missing:
        raise TuningError(
            f"study.objectives: {missing[0]}: the training gives no such score; it gives "
            f"{', '.join(sorted(scores)) or 'none'}"
        )
    values = [float(scores[key]) for key in objectives]
    for key, value in zip(objectives, values, strict=True):
        if not math.isfinite(value):
            raise TrialFailed(f"{key} is {value}, which is no score")
    return values
