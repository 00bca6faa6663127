"""Entries of a journal as MLflow's entities, as many to a call as it takes (ours)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dcal.tracking.spool import Entry, Line

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

# What MLflow takes in one call.
MAX_IN_CALL = {"metrics": 1000, "params": 100, "tags": 100}
BATCHED = {"metrics": "metrics", "scores": "metrics", "params": "params", "tags": "tags"}
MAX_DIGEST_LENGTH = 36  # MLflow refuses longer ones

Item = tuple[str, Any]  # a key of MAX_IN_CALL, and MLflow's entity


def cut_batch(lines: list[Line]) -> list[Line]:
    """Return the first lines that go out together: about one call's worth, or a single other."""
    num_values = 0
    for count, line in enumerate(lines):
        if line.entry is None or line.entry["kind"] not in BATCHED:
            return lines[: max(count, 1)]
        num_values += len(line.entry["values"])
        if num_values >= MAX_IN_CALL["metrics"]:
            return lines[: count + 1]
    return lines


def build_items(lines: list[Line]) -> list[Item]:
    """Return the entities of lines that `cut_batch` gave, in order."""
    return [item for line in lines if line.entry for item in _build_entry(line.entry)]


def split_calls(items: list[Item]) -> Iterator[tuple[str, list[Any]]]:
    """Yield kind and entities of each call: one kind a call, as many as MLflow takes."""
    for kind, limit in MAX_IN_CALL.items():
        entities = [entity for name, entity in items if name == kind]
        for start in range(0, len(entities), limit):
            yield kind, entities[start : start + limit]


def build_dataset(entry: Entry) -> DatasetInput:
    """Return a data set's entry as MLflow's data set of context `training`."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name, digest = entry["name"], entry["digest"][:MAX_DIGEST_LENGTH]
    dataset = Dataset(name, digest, source_type="local", source=f"data/index/{name}")
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _build_entry(entry: Entry) -> list[Item]:
    from mlflow.entities import Metric, Param, RunTag

    kind, values = BATCHED[entry["kind"]], entry["values"].items()
    if kind == "metrics":
        time, step = entry["time"], entry["step"]
        return [(kind, Metric(key, value, time, step)) for key, value in values]
    entity = Param if kind == "params" else RunTag
    return [(kind, entity(key, value)) for key, value in values]
