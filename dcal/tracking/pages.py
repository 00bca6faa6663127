"""What MLflow's own pages show of an experiment and of a run at first sight (ours)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from dcal.config import Config
from dcal.tracking.record import RunRecord

NOTE_TAG = "mlflow.note.content"  # what MLflow's pages call the description
# As MLflow's pages keep a saved view: read from its format in 3.17, and tested in a browser.
VIEW_TAG = "mlflow.sharedViewState.scores"
# MLflow leaves out a column that no run of the experiment has, so this serves both kinds of data.
VIEW_METRICS = (
    "test/both/top1_accuracy",
    "test/sa/top1_accuracy",
    "test/both/mean_ap",
    "test/both/cmc_1",
)
VIEW_PARAMS = ("model.top_r", "seed", "train.epochs")
HEADLINES = {"top1_accuracy": "top-1 accuracy", "mean_ap": "mean AP", "cmc_1": "rank-1"}
MAIN_BRANCHES = ("both", "sa")  # whichever comes first stands for the model


def describe_experiment(name: str) -> dict[str, str]:
    """Return the tags of an experiment: what it is, and the view `Scores` of its table."""
    note = (
        f"Runs on {name}. Views, then Scores, shows the few columns that matter. README: Compare "
        "runs in five steps."
    )
    columns = [f"metrics.`{key}`" for key in VIEW_METRICS]
    columns += [f"params.`{key}`" for key in VIEW_PARAMS]
    # A time of 0 keeps the text the same, whichever process writes it.
    state = json.dumps({"selectedColumns": columns})
    view = {"name": "Scores", "createdAt": 0, "updatedAt": 0, "state": state}
    return {NOTE_TAG: note, VIEW_TAG: json.dumps(view)}


def describe_result(
    config: Config, metrics: Mapping[str, float], record: RunRecord | None = None
) -> str:
    """Return a run's description: score, method, warnings, and how to have it again.

    Args:
        config: What the model was trained with.
        metrics: Of the test split, as results/evaluate/metrics.json has them.
        record: Of the training; None where a file of unknown origin was scored.
    """
    lines = [_describe_scores(metrics), _describe_method(config)]
    if record is not None:
        warnings = list(dict.fromkeys(" ".join(text.split()) for text in record.warnings))
        lines.append(f"Warnings: {'; '.join(warnings) or 'none'}.")
        lines.append(_describe_way_back(record))
    return "\n\n".join(lines)


def _describe_scores(metrics: Mapping[str, float]) -> str:
    for name, words in HEADLINES.items():
        scores = {
            branch: metrics[f"test/{branch}/{name}"]
            for branch in (*MAIN_BRANCHES, "glca")
            if f"test/{branch}/{name}" in metrics
        }
        if scores:
            main, *others = scores
            beside = ", ".join(f"{branch} {scores[branch]:.3f}" for branch in others)
            told = f"{words} {scores[main]:.3f} on test by {main}"
            return f"{told} ({beside})." if beside else f"{told}."
    return "No score on test."


def _describe_method(config: Config) -> str:
    model = config.model
    branches = ["SA"]
    if model.glca_blocks:
        patches = "" if model.readout == "class" else f", top_r {model.top_r:g}"
        branches.append(f"GLCA ({model.readout}{patches})")
    if model.pwca_blocks:
        branches.append("PWCA")
    return (
        f"{config.dataset.name}: {model.backbone} with {' + '.join(branches)}, "
        f"{config.train.epochs} epochs, seed {config.seed}."
    )


def _describe_way_back(record: RunRecord) -> str:
    steps = "copy the artifact config/params.yaml to params.yaml, then `dvc repro`"
    if record.git_commit is None:
        return f"To have it again: {steps}."
    changed = " (it had changes that were not committed)" if record.git_dirty else ""
    return f"To have it again: `git checkout {record.git_commit[:12]}`{changed}, {steps}."
