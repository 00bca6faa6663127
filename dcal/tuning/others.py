"""What other workers have under way, and whether they live (ours)."""

from __future__ import annotations

import logging
from contextlib import suppress
from copy import deepcopy

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from dcal.tuning.presence import is_gone
from dcal.tuning.storage import MAX_RETRIES, Storage, make_retry_callback, quietly

logger = logging.getLogger(__name__)
OWNER = "owner"  # user attribute of a trial: the token of the process that runs it


class Others:
    """Watches the running trials of a study, for a process that has none of its own."""

    def __init__(self, study: optuna.Study, storage: Storage) -> None:
        self._study = study
        self._storage = storage
        self._watched: set[int] = set()
        self._has_said_that_it_waits = False

    def take_over_from_the_dead(self) -> None:
        """Fail the trials of dead workers; each is tried again, twice at most.

        To be called inside `lock_storage`: who takes a trial says within it whose it is.
        """
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_gone(trial.user_attrs.get(OWNER)):
                with suppress(UpdateFinishedTrialError):
                    self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    make_retry_callback(MAX_RETRIES)(self._study, deepcopy(trial))
        quietly(fail_stale_trials, self._study)

    def list_running(self) -> list[FrozenTrial]:
        """Return the trials that run, of whichever process."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in trials:
            # A worker killed before its first sign of life leaves none that could grow old, and
            # its trial would run for ever. Of a live worker this is one more sign of life.
            if trial.number not in self._watched:
                self._storage.record_heartbeat(trial._trial_id)
                self._watched.add(trial.number)
        return trials

    def say_that_it_waits(self, what: str) -> None:
        """Say once what is waited for."""
        if not self._has_said_that_it_waits:
            logger.info(
                "waiting for %s of another worker; one that died is taken over after %d s",
                what,
                self._storage.grace_period,
            )
            self._has_said_that_it_waits = True
