"""The few things that training, evaluation and reports tell a tracker (ours)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

EndStatus = Literal["FINISHED", "FAILED", "KILLED"]
MAX_PARAM_LENGTH = 6000  # MLflow cuts longer values
MAX_DIGEST_LENGTH = 36  # and refuses longer digests
STEP_MILLISECONDS = 1000


class Tracker(Protocol):
    """Where a run's parameters, scores and pictures go."""

    @property
    def run_id(self) -> str | None:
        """Name the run; None = it is not tracked."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write a nested mapping as dotted keys, once."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the values of one step in one go."""

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a drawing as figures/<name>.png."""

    def log_file(self, path: str | Path, folder: str) -> None:
        """Keep a copy of a file in a folder of the run."""

    def log_dataset(self, name: str, digest: str) -> None:
        """Note which data the run saw."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""

    def end(self, status: EndStatus = "FINISHED") -> None:
        """Close the run."""


class NullTracker:
    """Takes everything and keeps nothing: no MLflow, or not the first process of several."""

    run_id: str | None = None

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
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


class MlflowTracker:
    """Writes to one MLflow run through its client; there is no global active run."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        run = client.get_run(run_id)
        self.run_id: str | None = run_id
        self._client = client
        self._start_milliseconds = int(run.info.start_time)
        self._params = dict(run.data.params)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write a nested mapping as dotted keys, once.

        MLflow refuses to change a parameter; those that differ from what the run already has are
        named in the tag `dcal.param_drift`.
        """
        from mlflow.entities import Param

        flat = {key: text[:MAX_PARAM_LENGTH] for key, text in flatten_params(params).items()}
        new = {key: text for key, text in flat.items() if key not in self._params}
        drifted = [key for key, text in flat.items() if self._params.get(key, text) != text]
        if new:
            self._send("log_batch", params=[Param(key, text) for key, text in new.items()])
            self._params |= new
        if drifted:
            self.set_tags({"dcal.param_drift": ", ".join(drifted)})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the values of one step in one go.

        A point's time is a function of its step, so that a point written twice is one point.
        """
        from mlflow.entities import Metric

        milliseconds = self._start_milliseconds + step * STEP_MILLISECONDS
        points = [Metric(key, float(value), milliseconds, step) for key, value in metrics.items()]
        self._send("log_batch", metrics=points)

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a drawing as figures/<name>.png."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{re.sub(r'[^0-9A-Za-z_.-]', '_', name)}.png")
            figure.savefig(path, bbox_inches="tight")
            self.log_file(path, "figures")

    def log_file(self, path: str | Path, folder: str) -> None:
        """Keep a copy of a file in a folder of the run."""
        self._send("log_artifact", local_path=str(path), artifact_path=folder)

    def log_dataset(self, name: str, digest: str) -> None:
        """Note which data the run saw, as MLflow's data set of context `training`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = f"data/index/{name}"
        dataset = Dataset(name, digest[:MAX_DIGEST_LENGTH], source_type="local", source=source)
        tag = InputTag("mlflow.data.context", "training")
        self._send("log_inputs", datasets=[DatasetInput(dataset, [tag])])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        from mlflow.entities import RunTag

        self._send("log_batch", tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def end(self, status: EndStatus = "FINISHED") -> None:
        """Close the run."""
        self._send("set_terminated", status=status)

    def _send(self, operation: str, **arguments: Any) -> None:
        # Every write passes here: the one place that a failing server has to be dealt with.
        getattr(self._client, operation)(self.run_id, **arguments)


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted keys and texts; an empty mapping counts as a value."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_params(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
