"""How a trial's state is told to MLflow, which knows FINISHED, FAILED and KILLED (ours)."""

from __future__ import annotations

from typing import Literal

from dcal.tracking import Tracker
from dcal.tracking.tracker import EndStatus

State = Literal["complete", "pruned", "failed", "interrupted"]
STATE_TAG = "dcal.trial_state"
REASON_TAG = "dcal.trial_reason"
# As a study's tables say it.
STATES: dict[str, State] = {"complete": "complete", "pruned": "pruned", "failed": "failed"}
END_STATUS: dict[State, EndStatus] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}


def end_run(tracker: Tracker, state: State, *, reason: str = "") -> None:
    """Close a trial's run; the reason is empty where it has a value."""
    tracker.set_tags({STATE_TAG: state, REASON_TAG: reason})
    tracker.end(END_STATUS[state])
