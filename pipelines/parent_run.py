"""The run in MLflow that the trainings of a study or a grid lie below (ours)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

from dcal.config import Config
from dcal.tracking import Tracker, start_run
from dcal.tuning.locks import StorageBusy, lock_storage
from pipelines.train import compute_run_fingerprint
from pipelines.trainings import Ground

WAIT_SECONDS = 15.0


@contextmanager
def track_parent(
    config: Config, ground: Ground, *, kind: str, label: str, closes: bool = True
) -> Iterator[Tracker]:
    """Open the run of `ground.parent_key`, or go on with it, and close it as it ended.

    Args:
        config: What the trainings change.
        ground: What they share.
        kind: The tag dcal.kind.
        label: What the run's name begins with.
        closes: False where another process, which works beside this one, closes it.
    """
    with _alone():
        tracker = _open(config, ground, kind=kind, label=label)
        _wait_for_id(tracker)
    if not closes:
        yield tracker
        return
    try:
        yield tracker
    except (KeyboardInterrupt, SystemExit):
        tracker.end("KILLED")
        raise
    except BaseException:
        tracker.end("FAILED")
        raise
    tracker.end()


@contextmanager
def _alone() -> Iterator[None]:
    """Keep workers that start together on several machines from making a run each."""
    with ExitStack() as held:
        with suppress(StorageBusy):  # where MLflow is down each of them waits for it in vain
            held.enter_context(lock_storage("run", wait_seconds=2 * WAIT_SECONDS))
        yield


def _open(config: Config, ground: Ground, *, kind: str, label: str) -> Tracker:
    digest = ground.pictures.report.digest
    tracker = start_run(
        config,
        environment=ground.environment,
        fingerprint=compute_run_fingerprint(config, data_digest=digest),
        data_digest=digest,
        run_key=ground.parent_key,
        started=datetime.now(UTC),
        kind=kind,
        label=label,
    )
    tracker.set_tags(ground.tags)
    return tracker


def _wait_for_id(tracker: Tracker) -> None:
    # A training's run is made below this one, and what waits for it would say so in a warning.
    end = time.monotonic() + WAIT_SECONDS
    while tracker.run_key and tracker.run_id is None and time.monotonic() < end:
        time.sleep(0.05)
