"""Which checkpoints may go: the rule that `make gc` and every training follow (ours).

A finished run's model is in DVC's cache, so its checkpoints go a day after its end (DVC may have
been killed before it took the model). An interrupted run can still go on, so its checkpoints stay
for a month. A run that is being trained is never touched.
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple

from dcal.training.checkpoints import CheckpointFolder, list_folders

Status = Literal["running", "finished", "interrupted"]
DAY_SECONDS = 24 * 3600.0
KEPT_SECONDS: dict[Status, float] = {
    "running": float("inf"),
    "finished": DAY_SECONDS,
    "interrupted": 30 * DAY_SECONDS,
}


class KeptRun(NamedTuple):
    """A run with files in the checkpoint folder."""

    folder: CheckpointFolder
    status: Status
    step: int  # of the newest checkpoint
    num_bytes: int
    idle_seconds: float  # since its files last changed

    @property
    def name(self) -> str:
        """Return the fingerprint."""
        return self.folder.path.name

    @property
    def is_disposable(self) -> bool:
        """Say whether the rule lets it go."""
        return self.idle_seconds >= KEPT_SECONDS[self.status]


def list_kept_runs() -> list[KeptRun]:
    """Return every run that has files, the largest first."""
    runs = [_describe(folder) for folder in list_folders()]
    return sorted(runs, key=lambda run: run.num_bytes, reverse=True)


def free(run: KeptRun) -> int:
    """Remove a run's files and return the bytes they took; 0 where a trainer took it meanwhile."""
    try:
        with run.folder.hold(wait_seconds=0):
            run.folder.remove_files()
    except RuntimeError:
        return 0
    return run.num_bytes


def free_finished() -> int:
    """Free the finished runs that the rule lets go, and return the bytes; training begins so."""
    disposable = [run for run in list_kept_runs() if run.is_disposable]
    return sum(free(run) for run in disposable if run.status == "finished")


def _describe(folder: CheckpointFolder) -> KeptRun:
    files = [path.stat() for path in folder.list_files()]
    # A clock that was set back must not make a file look old: the future counts as now.
    newest = max((file.st_mtime for file in files), default=0.0)
    checkpoints = folder.list_checkpoints()
    return KeptRun(
        folder,
        _find_status(folder),
        checkpoints[0].step if checkpoints else 0,
        sum(file.st_size for file in files),
        max(0.0, time.time() - newest),
    )


def _find_status(folder: CheckpointFolder) -> Status:
    if folder.is_held():
        return "running"
    state = folder.read_state()
    return "finished" if state is not None and state.finished is not None else "interrupted"


def describe_age(seconds: float) -> str:
    """Write an age as a reader would say it."""
    for unit, length in (("days", DAY_SECONDS), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
