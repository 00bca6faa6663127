"""The last runs that git holds, as their commits have them: parameters and scores (ours).

A commit counts where its results are those that its dvc.lock tells of; what was edited, or
committed in the middle of a pipeline, is passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from dcal.tracking import RunRecord
from dcal.tracking.tracker import flatten_params
from dcal.visual.report import PastRun
from pipelines.runs import RECORD, Run, RunError, list_records, read_texts

METRICS = "results/evaluate/metrics.json"
LOCK = "dvc.lock"
MODEL = "runs/train/model.safetensors"
NUM_COMPARED = 5


def find_past_runs(current: RunRecord, *, num: int = NUM_COMPARED) -> list[PastRun]:
    """Return the newest runs of the same data set that began before the current one; newest first.

    Later ones are left out, so that a page stays the same when it is made again.

    Asks git of the current directory; where there is none, no run is found.
    """
    found: list[PastRun] = []
    try:
        for run in _list_candidates(current):
            if len(found) == num:
                break
            past = _read(run)
            if past is not None and past.run_id != _identify(current):
                found.append(past)
    except RunError:
        return []  # this folder is not under git
    return found


def _list_candidates(current: RunRecord) -> Iterator[Run]:
    """Yield the newest commit of each training, the newest training first."""
    newest: dict[str, Run] = {}
    for run in list_records(METRICS):
        name = run.run_id or run.fingerprint
        if run.commit is not None and name and name != _identify(current) and run.started:
            newest.setdefault(name, run)
    earlier = [
        run
        for run in newest.values()
        if run.dataset == current.dataset.name
        and _read_time(run.started) < _read_time(current.started)
    ]
    yield from sorted(earlier, key=lambda run: _read_time(run.started), reverse=True)


def _read_time(started: str) -> datetime:
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:  # of another version of this project
        return datetime.max.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _identify(record: RunRecord) -> str:
    return record.run_id or record.fingerprint


def _read(run: Run) -> PastRun | None:
    """Return what a commit holds of its run; None where that does not belong together."""
    texts = {
        path: text
        for path in (RECORD, METRICS, LOCK)
        for _, text in read_texts([str(run.commit)], path)
    }
    try:
        stages = yaml.safe_load(texts[LOCK])["stages"]
        if not _belong_together(stages, texts):
            return None
        record, metrics = json.loads(texts[RECORD]), json.loads(texts[METRICS])
        return PastRun(
            run_id=str(run.run_id or run.fingerprint),
            fingerprint=str(record["fingerprint"]),
            started=str(record["started"]),
            experiment=run.experiment,
            data_digest=str(record["dataset"]["digest"]),
            num_warnings=len(record["warnings"]),
            params=_collect_params(stages),
            metrics={key: float(value) for key, value in metrics.items() if value is not None},
        )
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None  # of another version of this project, or no results at all


def _belong_together(stages: Mapping[str, Any], texts: Mapping[str, str]) -> bool:
    told = {
        out["path"]: out.get("md5")
        for stage in ("train", "evaluate")
        for out in stages[stage]["outs"]
    }
    are_written = all(
        told[path] == hashlib.md5(texts[path].encode(), usedforsecurity=False).hexdigest()
        for path in (RECORD, METRICS)
    )
    scored = {dep["path"]: dep.get("md5") for dep in stages["evaluate"]["deps"]}
    return are_written and scored.get(MODEL) == told.get(MODEL)


def _collect_params(stages: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that the stages ran with, whatever params.yaml said later."""
    params: dict[str, str] = {}
    for stage in stages.values():
        params |= flatten_params(stage.get("params", {}).get("params.yaml", {}))
    return params
