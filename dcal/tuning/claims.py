"""Trainings that are known beforehand, each carried out by one of any number of processes (ours).

They are trials of a study of Optuna's, which suggests nothing: waiting, running with signs of life,
complete with what they gave. So a worker that died is noticed as in a search, and what a training
gave reaches every machine that reaches the storage.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import FrozenTrial, TrialState, create_trial

from dcal.tuning.address import describe_storage_url
from dcal.tuning.errors import TuningError
from dcal.tuning.failures import storage_errors
from dcal.tuning.locks import lock_storage
from dcal.tuning.objective import leave_for_later
from dcal.tuning.others import OWNER, Others
from dcal.tuning.presence import get_own_token
from dcal.tuning.storage import Storage
from dcal.tuning.study import ATTRIBUTE, check_origins

logger = logging.getLogger(__name__)

KEY, RESULT = "key", "result"  # user attributes of a trial
SHARED = "dcal.shared."  # how user attributes of the study begin that all processes have alike
Value = TypeVar("Value", bound=float | int | str)


class Claim:
    """A training that this process has taken."""

    def __init__(self, key: str, trial: FrozenTrial, storage: Storage) -> None:
        self.key = key
        self._trial = trial
        self._storage = storage

    def finish(self, result: Mapping[str, Any]) -> None:
        """Note what the training gave, unless this process was taken for dead meanwhile."""
        try:
            with storage_errors():
                self._storage.set_trial_user_attr(self._trial._trial_id, RESULT, dict(result))
                self._storage.set_trial_state_values(
                    self._trial._trial_id, TrialState.COMPLETE, [0.0]
                )
        except UpdateFinishedTrialError:
            logger.warning(
                "this process gave no sign of life for too long, and another one trains the same"
            )


class Claims:
    """All trainings of one undertaking, and who carries them out."""

    def __init__(
        self, study: optuna.Study, storage: Storage, origins: Mapping[str, str] | None = None
    ) -> None:
        self._study = study
        self._origins = origins  # None = whatever it was begun with
        self._storage = storage
        self._others = Others(study, storage)
        self._name = study.study_name
        self._order: dict[str, int] = {}

    def enqueue(self, keys: Sequence[str], find_result: Callable[[str], Any]) -> None:
        """Let trainings wait for whoever takes them, those that never ended well among them.

        Args:
            keys: Of all trainings, in the order in which they are taken.
            find_result: Returns what a training gave in this work root before, or None.
        """
        self._order = {key: place for place, key in enumerate(keys)}
        with lock_storage(), storage_errors():
            states = {key: set[TrialState]() for key in keys}
            for trial in self._study.get_trials(deepcopy=False):
                states.setdefault(trial.user_attrs[KEY], set()).add(trial.state)
                if trial.state is TrialState.WAITING:
                    self._settle(trial, find_result(trial.user_attrs[KEY]))
            open_states = {TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE}
            for key in keys:
                if not states[key] & open_states:
                    self._study.add_trial(_make_trial(key, find_result(key)))

    def share(self, name: str, make: Callable[[], float]) -> float:
        """Return a number that the first process makes, and that all have alike."""
        with storage_errors():
            known = self._study.user_attrs.get(f"{SHARED}{name}")
        made = make() if known is None else known
        with lock_storage(), storage_errors():  # another one may have made it meanwhile
            known = self._study.user_attrs.get(f"{SHARED}{name}")
            if known is None:
                self._study.set_user_attr(f"{SHARED}{name}", made)
        return float(made if known is None else known)

    def take(self) -> Claim | None:
        """Take the next training that waits; None where none does."""
        with lock_storage(), storage_errors():
            self._require_same()
            self._others.take_over_from_the_dead()
            waiting = {t.user_attrs[KEY]: t for t in self._list(TrialState.WAITING)}
            for key in sorted(waiting.keys() & self._order.keys(), key=self._order.__getitem__):
                trial = waiting[key]
                if self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    self._storage.set_trial_user_attr(trial._trial_id, OWNER, get_own_token())
                    return Claim(key, trial, self._storage)
        return None

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[None]:
        """Show signs of life; a training that is left by an error waits for the next process."""
        number = claim._trial.number
        with storage_errors(), get_heartbeat_thread(claim._trial._trial_id, self._storage):
            try:
                yield
            except BaseException:
                self._give_back(claim, number)
                raise

    def list_results(self) -> dict[str, Any]:
        """Return what each training gave that has ended, by its key."""
        return {t.user_attrs[KEY]: t.user_attrs[RESULT] for t in self._list(TrialState.COMPLETE)}

    def list_running(self) -> list[str]:
        """Return the keys of the trainings that other processes are at."""
        with storage_errors():
            return [trial.user_attrs[KEY] for trial in self._others.list_running()]

    def say_that_it_waits(self, what: str) -> None:
        """Say once what is waited for."""
        self._others.say_that_it_waits(what)

    def _require_same(self) -> None:
        # A database may give a new study the number of one that was deleted.
        with suppress(KeyError):
            if self._study.user_attrs.get(ATTRIBUTE) == self._origins:
                return
        raise TuningError(
            f"{self._name} in {describe_storage_url()} was begun anew by another process; see that "
            "this checkout has what that one has, and run it again"
        )

    def _list(self, state: TrialState) -> list[FrozenTrial]:
        with storage_errors():
            return self._study.get_trials(deepcopy=False, states=(state,))

    def _settle(self, trial: FrozenTrial, result: Any) -> None:
        if result is None:
            return
        number = trial._trial_id
        if self._storage.set_trial_state_values(number, TrialState.RUNNING):
            self._storage.set_trial_user_attr(number, RESULT, result)
            self._storage.set_trial_state_values(number, TrialState.COMPLETE, [0.0])

    def _give_back(self, claim: Claim, number: int) -> None:
        try:
            self._storage.set_trial_state_values(claim._trial._trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return  # it was finished, or another process took it
        leave_for_later(self._study, number, max_retry=None)


def open_claims(
    storage: Storage,
    name: str,
    *,
    origins: Mapping[str, str],
    described: Mapping[str, str],
    is_led: bool,
    keep: Callable[[str, Any], None],
) -> Claims:
    """Begin an undertaking, or join it.

    Args:
        storage: From `open_storage`.
        name: Of the study.
        origins: Digests of what all processes must have alike; see `check_origins`.
        described: What they are made of, as far as it can be named.
        is_led: Whether this process decides what is trained: what others were at before, with
            something else, is replaced, unless one of them still works at it.
        keep: Is given key and result of each training that is forgotten thereby.

    Raises:
        TuningError: It was begun with something else.
    """
    place = f"{name} in {describe_storage_url()}"
    with lock_storage(), storage_errors():
        study = _open(storage, name)
        try:
            check_origins(study, origins, described, place=place, advice="go back to those")
        except TuningError as error:
            claims = Claims(study, storage)
            claims._others.take_over_from_the_dead()
            if not is_led or claims._list(TrialState.RUNNING):
                raise _advise(error, is_led=is_led, grace=storage.grace_period) from None
            for key, result in claims.list_results().items():
                keep(key, result)
            optuna.delete_study(study_name=name, storage=storage)
            study = _open(storage, name)
            check_origins(study, origins, described, place=place)
    return Claims(study, storage, origins)


def _open(storage: Storage, name: str) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)


def _make_trial(key: str, result: Any) -> FrozenTrial:
    if result is None:
        return create_trial(state=TrialState.WAITING, user_attrs={KEY: key})
    return create_trial(value=0.0, user_attrs={KEY: key, RESULT: result})


def _advise(error: TuningError, *, is_led: bool, grace: int | None) -> TuningError:
    if not is_led:
        return error
    return TuningError(
        f"{error}, or end the workers that are at it with those (a dead one counts for {grace} s)"
    )
