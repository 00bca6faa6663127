"""A run that says all there is to say: `python -m tests.tracking.writer KEY SEED`.

Killed and started again, it takes every step anew, as a run that resumes from a checkpoint takes
some, and says the same again.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from dcal.config import load_config
from dcal.tracking import Environment, Tracker, sender, start_run
from dcal.tracking.tracker import SpooledTracker

NUM_STEPS = 60
STEP_SECONDS = 0.05
SHORTEST_SECONDS = NUM_STEPS * STEP_SECONDS  # of a writer that nobody kills


def say_everything(tracker: Tracker, *, step_seconds: float = STEP_SECONDS) -> None:
    """Write params, points, files, a drawing, scores and tags; not the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text("seed: 0\n")
        tracker.log_file(path, "config")
        for step in range(NUM_STEPS):
            values = {"train/loss": 1 / (step + 1), "train/lr": 0.1 + 0.2 * step}
            if step % 20 == 19:
                values |= {"val/both/top1_accuracy": step / 100, "odd": math.nan, "far": math.inf}
                path.write_text(f"epoch {step}\n" * 1000)
                tracker.log_file(path, f"epochs/{step}")
            tracker.log_metrics(values, step)
            time.sleep(step_seconds)
    tracker.log_scores({"test/both/top1_accuracy": 0.625, "test/sa/top1_accuracy": 0.5})
    tracker.set_tags({"note": "said"})


def start(run_key: str) -> Tracker:
    """Start the run, or go on with it."""
    environment = Environment(
        git_commit="0123abc",
        git_dirty=False,
        dvc_exp_name=None,
        versions={},
        device="cpu",
        threads=1,
    )
    return start_run(
        load_config(Path(__file__).parents[2] / "params.yaml", ["dataset.name=finches"]),
        environment=environment,
        fingerprint="f00d",
        data_digest="d" * 64,
        run_key=run_key,
        started=datetime(2026, 1, 1, tzinfo=UTC),
    )


def hurry() -> None:
    """Send and try again often, so that a kill meets a send; scores are at one time."""
    sender.SEND_SECONDS = 0.05
    sender.FIRST_WAIT_SECONDS = 0.05
    sender.LONGEST_WAIT_SECONDS = 0.2
    SpooledTracker._now = lambda self: self._start_milliseconds  # type: ignore[method-assign]


def main() -> None:
    """Say everything and end; exit with 1 if something still waits."""
    hurry()
    tracker = start(sys.argv[1])
    say_everything(tracker)
    assert isinstance(tracker, SpooledTracker)
    tracker.set_status("FINISHED")
    sys.exit(0 if tracker.close(patience=60) else 1)


if __name__ == "__main__":
    main()
