"""The report's section on the runs before this one: scores and parameters, side by side (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pandas as pd

from dcal.analysis.tables import compute_wilson_interval
from dcal.tracking.tracker import flatten_params
from dcal.visual.report.attachments import attach_csv
from dcal.visual.report.inputs import PastRun, ReportInputs, format_counted, format_percent

NUM_NAMED = 4  # differing parameters of a run that its row names
# Where something lies on a machine, which is no one else's business.
PLACES = {"dataset.source", "model.weights", "evaluate.weights"}
OTHER_PICTURES = "other pictures"


class Shown(NamedTuple):
    """A run as the tables have it."""

    name: str
    fingerprint: str
    started: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    weights: str  # what it started from, which no page names
    remarks: tuple[str, ...] = ()


def build_comparison(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return the section on the last runs; None for a model that was given, and not trained."""
    if inputs.training is None:
        return None
    own = _describe_own(inputs)
    others = [_describe_past(run, inputs) for run in inputs.past_runs]
    if not others:
        return {"note": _tell_none(inputs), "rows": []}
    key = f"test/{{}}/{'mean_ap' if inputs.is_reid else 'top1_accuracy'}"
    table = _build_table([own, *others], key=key)
    params = find_differences([own, *others])
    scores = _build_scores([own, *others])
    return {
        "note": _tell(inputs, num_others=len(others)),
        "heading": "Mean AP" if inputs.is_reid else "Top-1",
        "rows": [_build_row(row, own) for row in table],
        "csv": attach_csv("runs.csv", pd.DataFrame([_to_record(row) for row in table])),
        "names": _name_columns([own, *others]),
        "params": params.to_numpy().tolist(),
        "params_csv": attach_csv("parameters_that_differ.csv", params),
        "scores": [_format_scores(row) for row in scores.to_numpy().tolist()],
        "scores_csv": attach_csv("scores_of_runs.csv", scores),
    }


class _Row(NamedTuple):
    run: Shown
    branch: str
    score: float | None
    gain: float | None  # of this page's run over it
    differing: list[tuple[str, str, str]]  # key, its value, ours


def find_differences(runs: Sequence[Shown]) -> pd.DataFrame:
    """Return the parameters that two of the runs have otherwise: parameter, and a column a run.

    Empty where a run does not know the key, as runs of another version of this project.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.params))
    rows = [
        (key, *(run.params.get(key, "") for run in runs))
        for key in keys
        if len({run.params.get(key, "") for run in runs}) > 1
    ]
    return pd.DataFrame(rows, columns=["parameter", *_name_columns(runs)])


def _build_scores(runs: Sequence[Shown]) -> pd.DataFrame:
    keys = sorted({key for run in runs for key in run.metrics})
    rows = [(key, *(run.metrics.get(key) for run in runs)) for key in keys]
    return pd.DataFrame(rows, columns=["score", *_name_columns(runs)])


def _name_columns(runs: Sequence[Shown]) -> list[str]:
    """Return the runs' names, numbered where two have the same."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({position})"
        for position, name in enumerate(names)
    ]


def _build_table(runs: Sequence[Shown], *, key: str) -> list[_Row]:
    own = runs[0]
    _, reference = _find_score(own, key)
    rows = []
    for run in runs:
        branch, score = _find_score(run, key)
        gain = None if score is None or reference is None else reference - score
        shared = [name for name in own.params if name in run.params]
        differing = [
            (name, run.params[name], own.params[name])
            for name in shared
            if run.params[name] != own.params[name]
        ]
        rows.append(_Row(run, branch, score, None if run is own else gain, differing))
    return rows


def _find_score(run: Shown, key: str) -> tuple[str, float | None]:
    """Return the branch that stands for a run, and its score."""
    for branch in ("both", "sa"):
        if key.format(branch) in run.metrics:
            return branch, run.metrics[key.format(branch)]
    return "sa", None


def _build_row(row: _Row, own: Shown) -> dict[str, Any]:
    shown, hidden = row.differing[:NUM_NAMED], row.differing[NUM_NAMED:]
    return {
        "is_own": row.run is own,
        "name": row.run.name,
        "started": row.run.started,
        "branch": row.branch,
        "fill": round(100 * (row.score or 0.0), 2),
        "score": format_percent(row.score),
        "gain": "" if row.gain is None else _format_gain(row.gain),
        "remarks": row.run.remarks,
        "differing": [{"key": key, "theirs": theirs, "ours": ours} for key, theirs, ours in shown],
        "more": len(hidden),
        "same": "" if row.differing else _tell_same(row.run, own),
    }


def _tell_same(run: Shown, own: Shown) -> str:
    if run is own:
        return "this run"
    # Fingerprints are of parameters, data, code and starting weights.
    if run.fingerprint == own.fingerprint or OTHER_PICTURES in run.remarks:
        return "the same parameters"
    if run.weights != own.weights:
        return "the same parameters, other starting weights"
    is_of_code = own.weights in ("embedded", "none")
    return "the same parameters, other code" + ("" if is_of_code else " or starting weights")


def _format_gain(gain: float) -> str:
    text = f"{100 * gain:+.1f}"
    return "0.0" if float(text) == 0 else text


def _to_record(row: _Row) -> dict[str, Any]:
    return {
        "run": row.run.name,
        "started": row.run.started,
        "branch": row.branch,
        "score": row.score,
        "this_run_less_it": row.gain,
        "differing": "; ".join(f"{key}={theirs}" for key, theirs, _ in row.differing),
        "remarks": "; ".join(row.run.remarks),
    }


def _format_scores(row: list[Any]) -> list[str]:
    key, *values = row
    return [key, *("" if pd.isna(value) else f"{value:.4g}" for value in values)]


def _describe_own(inputs: ReportInputs) -> Shown:
    assert inputs.training is not None
    run = inputs.training.run
    params = flatten_params(inputs.config.model_dump(mode="json"))
    return Shown(
        run.dvc_exp_name or run.fingerprint,
        run.fingerprint,
        _to_minutes(run.started),
        inputs.metrics,
        _clean(params),
        params.get("model.weights", ""),
        tuple(_remark(len(run.warnings))),
    )


def _describe_past(run: PastRun, inputs: ReportInputs) -> Shown:
    remarks = _remark(run.num_warnings)
    if run.data_digest != inputs.index_report.digest:
        remarks.insert(0, OTHER_PICTURES)
    return Shown(
        run.experiment or run.fingerprint,
        run.fingerprint,
        _to_minutes(run.started),
        run.metrics,
        _clean(run.params),
        run.params.get("model.weights", ""),
        tuple(remarks),
    )


def _remark(num_warnings: int) -> list[str]:
    return [format_counted(num_warnings, "warning", "warnings")] if num_warnings else []


def _clean(params: Mapping[str, str]) -> dict[str, str]:
    words = {"None": "null", "True": "true", "False": "false"}
    return {key: words.get(text, text) for key, text in params.items() if key not in PLACES}


def _to_minutes(started: str) -> str:
    return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _tell(inputs: ReportInputs, *, num_others: int) -> str:
    last = "run" if num_others == 1 else f"{num_others} runs"
    told = (
        f"Beside this one, the last {last} of {inputs.config.dataset.name} before it, of those "
        "that git holds on any branch, tag or DVC experiment. Difference: this run less that one, "
        "in points."
    )
    if inputs.is_reid:
        return f"{told} Each is one run of one seed; make ablate compares over seeds."
    accuracy = inputs.metrics[f"test/{inputs.main_branch}/top1_accuracy"]
    low, high = compute_wilson_interval(accuracy, inputs.num_pictures)
    return (
        f"{told} Other pictures of the same kind would move this run's score between "
        f"{format_percent(low)} and {format_percent(high)}, and another seed moves it, too: make "
        "ablate compares over seeds."
    )


def _tell_none(inputs: ReportInputs) -> str:
    return (
        f"Git holds no run of {inputs.config.dataset.name} before this one. Commit results, "
        "dvc.lock and params.yaml of this one, or keep it with dvc exp run: pages of later runs "
        "compare with it."
    )
