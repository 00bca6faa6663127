"""The few things that training, evaluation and reports tell a tracker (ours)."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import uuid4

from dcal.paths import compute_file_digest
from dcal.tracking.journal import Journal
from dcal.tracking.sender import Sender
from dcal.tracking.spool import Entry, Spool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

EndStatus = Literal["FINISHED", "FAILED", "KILLED"]
MAX_PARAM_LENGTH = 6000  # MLflow cuts longer values
STEP_MILLISECONDS = 1000


class Tracker(Protocol):
    """Where a run's parameters, scores and pictures go."""

    @property
    def run_key(self) -> str | None:
        """Name the run from its first moment; None = it is not tracked."""

    @property
    def run_id(self) -> str | None:
        """Name the run in MLflow; None = no server has answered yet, or it is not tracked."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write a nested mapping as dotted keys, once."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the values of one step in one go; a key's steps go forward only."""

    def log_scores(self, scores: Mapping[str, float]) -> None:
        """Write values that belong to the whole run; the newest of a key counts."""

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a drawing as figures/<name>.png."""

    def log_file(self, path: str | Path, folder: str) -> None:
        """Keep a copy of a file in a folder of the run; "" = beside its folders."""

    def log_dataset(self, name: str, digest: str) -> None:
        """Note which data the run saw."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""

    def end(self, status: EndStatus = "FINISHED") -> None:
        """Close the run, and wait a while for what is not sent yet."""


class NullTracker:
    """Takes everything and keeps nothing: no MLflow, or not the first process of several."""

    run_key: str | None = None
    run_id: str | None = None

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep nothing."""

    def log_scores(self, scores: Mapping[str, float]) -> None:
        """Keep nothing."""

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep nothing."""

    def log_file(self, path: str | Path, folder: str) -> None:
        """Keep nothing."""

    def log_dataset(self, name: str, digest: str) -> None:
        """Keep nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Keep nothing."""

    def end(self, status: EndStatus = "FINISHED") -> None:
        """Keep nothing."""


class SpooledTracker:
    """Writes to a journal on this disk; a thread of its own sends that to MLflow.

    No method waits for a server but `end`. A full disk costs what does not fit, not the run.
    """

    def __init__(self, spool: Spool, journal: Journal, sender: Sender) -> None:
        assert journal.known.origin is not None
        self.run_key: str | None = spool.run_key
        self._spool = spool
        self._journal = journal
        self._sender = sender
        self._start_milliseconds = int(journal.known.origin["start_time"])
        self._num_lost = 0

    @property
    def run_id(self) -> str | None:
        """Name the run in MLflow; None = no server has answered yet."""
        return self._sender.run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write a nested mapping as dotted keys, once.

        MLflow refuses to change a parameter; those that differ from what the run already has are
        named in the tag `dcal.param_drift`.
        """
        flat = {key: text[:MAX_PARAM_LENGTH] for key, text in flatten_params(params).items()}
        self._write({"kind": "params", "values": flat})
        known = self._journal.known.params
        drifted = [key for key, text in flat.items() if known.get(key, text) != text]
        if drifted:
            self.set_tags({"dcal.param_drift": ", ".join(drifted)})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the values of one step in one go.

        A point's time is a function of its step, and a step at or before the last one of a key is
        left out: a resumed run, which takes some steps again, writes no point twice.
        """
        assert 0 <= step < 2**63
        milliseconds = self._start_milliseconds + step * STEP_MILLISECONDS
        values = {key: float(value) for key, value in metrics.items()}
        self._write({"kind": "metrics", "step": step, "time": milliseconds, "values": values})

    def log_scores(self, scores: Mapping[str, float]) -> None:
        """Write values that belong to the whole run, at step 0; the newest of a key counts."""
        values = {key: float(value) for key, value in scores.items()}
        self._write({"kind": "scores", "step": 0, "time": self._now(), "values": values})

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a drawing as figures/<name>.png."""
        file_name = f"{re.sub(r'[^0-9A-Za-z_.-]', '_', name)}.png"
        self._keep_file(file_name, "figures", lambda to: figure.savefig(to, bbox_inches="tight"))

    def log_file(self, path: str | Path, folder: str) -> None:
        """Keep a copy of a file, as it is now, in a folder of the run; "" = beside its folders."""
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(f"{source}: expected a file to keep; it is missing")
        self._keep_file(source.name, folder, lambda to: shutil.copyfile(source, to))

    def log_dataset(self, name: str, digest: str) -> None:
        """Note which data the run saw, as MLflow's data set of context `training`."""
        self._write({"kind": "dataset", "name": name, "digest": digest})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        values = {key: str(value) for key, value in tags.items()}
        self._write({"kind": "tags", "values": values})

    def set_status(self, status: EndStatus | Literal["RUNNING"]) -> None:
        """Say that the run has ended, or goes on."""
        self._write({"kind": "status", "status": status, "time": self._now()})

    def end(self, status: EndStatus = "FINISHED") -> None:
        """Close the run, and wait a while for what is not sent yet."""
        self.set_status(status)
        self.close()

    def close(self, patience: float | None = None) -> bool:
        """Stop sending, as `Sender.close` does, and leave the run's status as it is."""
        if self._num_lost:
            logger.warning("%d entries of the run could not be kept for MLflow", self._num_lost)
        is_delivered = self._sender.close(patience)
        self._journal.close()
        return is_delivered

    def _now(self) -> int:
        # A clock that was put back does not end a run before it started.
        return max(int(time.time() * 1000), self._start_milliseconds)

    def _write(self, entry: Entry) -> None:
        try:
            self._journal.append(entry)
        except OSError as error:
            self._note_loss(error)

    def _keep_file(self, name: str, folder: str, save: Callable[[Path], object]) -> None:
        place = self._spool.files / uuid4().hex
        try:
            place.mkdir(parents=True)
            save(place / name)
            file = (place / name).relative_to(self._spool.folder).as_posix()
            digest = compute_file_digest(place / name)
            entry = {"kind": "file", "file": file, "folder": folder, "digest": digest}
            if not self._journal.append(entry):
                shutil.rmtree(place)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            self._note_loss(error)

    def _note_loss(self, error: OSError) -> None:
        if not self._num_lost:
            logger.warning(
                "%s cannot be written (%s): the run goes on, MLflow does not hear all of it",
                self._spool.place,
                error.strerror or error,
            )
        self._num_lost += 1


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted keys and texts; an empty mapping counts as a value."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_params(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
