"""results/<stage>/run.json: the run's identity in plain JSON, read without MLflow (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dcal.paths import write_json
from dcal.tracking.environment import Environment


class DatasetRecord(BaseModel):
    """The data a run saw."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    digest: str  # of the index's canonical table


class RunRecord(Environment):
    """One training run, committed to git beside its metrics."""

    run_key: str | None = None  # its spool, and the tag dcal.run_key; null = it was not tracked
    run_id: str | None  # in MLflow; null = no server had answered, or it was not tracked
    tracking_uri: str  # without credentials; the default is relative to the work root
    fingerprint: str
    seed: int
    dataset: DatasetRecord
    model: dict[str, Any]  # such as the count of parameters
    warnings: list[str]
    started: str  # ISO 8601, UTC
    seconds: float  # of all attempts, up to the checkpoints that they left
    resumed_from: list[int] = []  # the steps at which an interrupted run went on


def write_run_record(path: str | Path, record: RunRecord) -> None:
    """Write the record, whole or not at all."""
    write_json(path, record.model_dump(mode="json"))


def read_run_record(path: str | Path) -> RunRecord:
    """Read a record back.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not a run record.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such run record; run: dvc repro train")
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{path}: expected a run record; {place}: {first['msg']}; run: dvc repro -f train"
        ) from None
