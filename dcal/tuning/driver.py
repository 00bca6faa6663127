"""One worker of a study, from its first trial to the end of the budget (ours)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from dcal.config import Config
from dcal.mistakes import is_mistake
from dcal.tuning.failures import storage_errors
from dcal.tuning.locks import lock_storage
from dcal.tuning.objective import RunTrial, TrialFailed, leave_for_later, score_trial
from dcal.tuning.others import OWNER, Others
from dcal.tuning.plan import Plan
from dcal.tuning.presence import get_own_token
from dcal.tuning.progress import REASON, describe_progress, list_counted
from dcal.tuning.space import apply, suggest
from dcal.tuning.storage import MAX_RETRIES, Storage
from dcal.tuning.study import make_sampler

logger = logging.getLogger(__name__)
OVERRIDES = "overrides"  # user attribute: what the trial changes, as the config has it
POLL_SECONDS = 1.0
MAX_FAILURES_IN_A_ROW = 3  # of errors that nobody foresaw


@dataclass
class Worker:
    """Run trials until the budget is spent and no worker's trial is left running."""

    study: optuna.Study  # from `open_study`
    storage: Storage  # from `open_storage`
    plan: Plan
    base: Config  # what trials change
    run_trial: RunTrial
    announce: Callable[[str], None] = logger.info  # is given a line after each trial
    should_stop: Callable[[], str | None] = lambda: None  # asked while it waits for other workers
    _failures_in_a_row: int = field(default=0, init=False)
    _error: BaseException | None = field(default=None, init=False)
    _others: Others = field(init=False)

    def __post_init__(self) -> None:
        self._others = Others(self.study, self.storage)

    def run(self) -> None:
        """Run trials; return when the budget is spent and nothing is RUNNING any more.

        Raises:
            TuningError: The database fails.
            KeyboardInterrupt: The user stopped it; the trial is the next one of the next start.
            Exception: A mistake of the user, after which the trial is tried again by the next
                start, or three errors in a row.
        """
        minutes = self.plan.study.budget.minutes
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        with storage_errors():
            while True:
                has_time = deadline is None or time.monotonic() < deadline
                if has_time and self._run_one():
                    continue
                with lock_storage():
                    self._others.take_over_from_the_dead()
                if has_time and self._has_room():
                    continue
                running = self._others.list_running()
                if not running:
                    return
                numbers = ", ".join(str(trial.number) for trial in running)
                if reason := self.should_stop():
                    raise KeyboardInterrupt(reason)
                self._others.say_that_it_waits(f"trial {numbers}")
                time.sleep(POLL_SECONDS)

    def _has_room(self) -> bool:
        limit = self.plan.study.budget.num_trials
        return limit is None or len(list_counted(self._list_trials())) < limit

    def _run_one(self) -> bool:
        """Run a trial if the budget has one left; say whether it had."""
        with ExitStack() as claim:
            # Looking, taking the trial and its values are one step, or workers together would
            # exceed the budget and suggest the same; `_score` ends it.
            claim.enter_context(lock_storage())
            self._others.take_over_from_the_dead()
            if not self._has_room():
                return False
            self.study.sampler = make_sampler(
                self.plan.study.sampler_seed, num_begun=len(list_counted(self._list_trials()))
            )
            number = self._optimize_once(claim)
        self._conclude(number)
        return True

    def _optimize_once(self, claim: ExitStack) -> int:
        """Let Optuna run a trial, with signs of life and a state at its end; return its number."""
        number = -1
        self._error = None

        def objective(trial: Trial) -> list[float]:
            nonlocal number
            number = trial.number
            return self._score(trial, claim)

        try:
            self.study.optimize(objective, n_trials=1, catch=(Exception,))
        except KeyboardInterrupt:
            if number >= 0 and self._list_trials()[number].state is TrialState.FAIL:
                leave_for_later(self.study, number, max_retry=None)
            raise
        except (ValueError, AssertionError):
            # What Optuna raises where another worker took this one for dead, as after a suspended
            # laptop, and finished its trial.
            if number < 0 or not self._list_trials()[number].state.is_finished():
                raise
            self._error = UpdateFinishedTrialError()
        except UnboundLocalError as error:
            # Optuna's own, where the database fails while it is told how a trial ended.
            failure = error.__context__
            if not isinstance(failure, StorageInternalError):
                raise
            raise failure from failure.__cause__
        return number

    def _score(self, trial: Trial, claim: ExitStack) -> list[float]:
        try:
            trial.set_user_attr(OWNER, get_own_token())
            values = suggest(trial, self.plan.space, self.base)
            trial.set_user_attr(OVERRIDES, values)
            claim.close()
            config = apply(self.base, values, origin=f"trial {trial.number}")
            return score_trial(config, trial, self.run_trial, self.plan.study.objectives)
        except optuna.TrialPruned:
            raise
        except Exception as error:
            self._error = error
            raise

    def _conclude(self, number: int) -> None:
        """Say what became of a trial, and stop where going on makes no sense."""
        error = self._error
        if isinstance(error, UpdateFinishedTrialError):
            logger.warning(
                "trial %d gave no sign of life for too long, and another worker goes on with it",
                number,
            )
            return
        if error is None or isinstance(error, TrialFailed):
            self._failures_in_a_row = 0
        elif is_mistake(error):
            leave_for_later(self.study, number, max_retry=MAX_RETRIES)
            raise error
        else:
            self._failures_in_a_row += 1
        if error is not None:
            reason = self._list_trials()[number].user_attrs.get(REASON, str(error))
            logger.warning("trial %d failed: %s", number, reason)
        self.announce(describe_progress(self.study, self.plan.study))
        if error is not None and self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise error

    def _list_trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)
