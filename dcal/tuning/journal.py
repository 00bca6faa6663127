"""Studies in a file of a shared folder: Optuna's journal, with the signs of life it lacks (ours).

optuna.journal             what happened, a line an event, only ever appended to
optuna.journal.lock        who appends; Optuna's own
optuna.journal.signs/7     touched by the worker of the running trial of that id
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from dcal.sentences import to_one_line
from dcal.tuning.address import describe_storage_url
from dcal.tuning.ages import find_age, find_now
from dcal.tuning.errors import TuningError
from dcal.write_errors import describe_write_error

OnStale = Callable[[optuna.Study, FrozenTrial], None]


class Journal(JournalStorage, BaseHeartbeat):
    """A journal whose trials are failed when their worker is silent, as those of a database are."""

    def __init__(
        self, path: Path, *, heartbeat_interval: int, grace_period: int, on_stale: OnStale
    ) -> None:
        self.heartbeat_interval = heartbeat_interval
        self.grace_period = grace_period
        self._on_stale = on_stale
        self._signs = path.with_name(f"{path.name}.signs")
        _make_file(path, self._signs)
        super().__init__(_Lines(path))

    def record_heartbeat(self, trial_id: int) -> None:
        """Show that the worker of a trial lives; where it cannot be shown now, the next time."""
        # An error would end Optuna's thread of signs, and a worker that lives be taken for dead.
        with suppress(OSError):
            self._find_sign(trial_id).touch()

    def get_heartbeat_interval(self) -> int | None:
        """Return the seconds between two signs."""
        return self.heartbeat_interval

    def get_heartbeat_stale_trial_callback(self) -> OnStale:
        """Return what is done about a trial whose worker is silent."""
        return self._on_stale

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change a trial's state; one that has ended needs no signs."""
        is_done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished():
            self._find_sign(trial_id).unlink(missing_ok=True)
        return is_done

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        ages = {trial._trial_id: find_age(self._find_sign(trial._trial_id)) for trial in running}
        return [number for number, age in ages.items() if age and age > self.grace_period]

    def _find_sign(self, trial_id: int) -> Path:
        return self._signs / str(trial_id)


class _Lines(JournalFileBackend):
    """The file itself; what is wrong with it is told in one sentence."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Not a symbolic link, Optuna's default, which some shared folders do not have.
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        try:
            yield from super().read_logs(log_number_from)
        except OSError as error:
            raise _explain(error, self._path) from None
        except ValueError as error:
            raise TuningError(
                f"{describe_storage_url()}: the journal is damaged ({to_one_line(str(error))}); "
                "bring back a copy, or move it away and begin anew"
            ) from None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs(logs)
        except OSError as error:
            raise _explain(error, self._path) from None


def _explain(error: OSError, path: Path) -> TuningError:
    reason = describe_write_error(error, path)
    return TuningError(reason or f"{describe_storage_url()}: {error.strerror or error}")


def _make_file(path: Path, signs: Path) -> None:
    """Make a new journal, or see that a file is one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or not path.stat().st_size:
            # Those of a journal that was deleted tell of other trials.
            shutil.rmtree(signs, ignore_errors=True)
        signs.mkdir(exist_ok=True)
        find_now(
            signs
        )  # asked by writing: permissions do not bind root, and a place may be read-only
        with path.open("ab"), path.open("rb") as stream:
            first = stream.readline()
    except OSError as error:
        raise _explain(error, path) from None
    if first and not _is_event(first):
        raise TuningError(
            f"{describe_storage_url()}: expected a journal of Optuna, got another file; move it "
            "away or set DCAL_OPTUNA_URL"
        )


def _is_event(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys()
