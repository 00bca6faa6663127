"""A study's pictures: written to runs/tune, and shown on its run in MLflow (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dcal.paths import replace_folder
from dcal.tracking import Tracker
from dcal.tuning.parameters import FloatParameter, IntParameter
from dcal.tuning.plan import Plan
from dcal.tuning.results import build_front_table, build_trials_table, compute_importances
from dcal.visual.studies import (
    StudyView,
    draw_front,
    draw_history,
    draw_importances,
    draw_pair,
    draw_parallel,
    draw_slice,
)
from pipelines.tune.study import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path("runs/tune")
# What the paper leaves open and readers ask about first: R against the weight of a loss.
PAIRED = "model.top_r"


def draw_study(search: Search, tracker: Tracker) -> None:
    """Draw all pictures of a study, keep them, and show them on its run."""
    with replace_folder(FOLDER) as folder:
        for name, figure in list_figures(search).items():
            figure.savefig(folder / f"{name}.png", bbox_inches="tight", dpi=150)
            tracker.log_figure(figure, name)


def list_figures(search: Search) -> dict[str, Figure]:
    """Return the pictures that the study has enough trials for, by name."""
    settings = search.plan.study
    trials = build_trials_table(search.study, settings)
    metric = settings.score_key
    keys = [key for key in search.plan.space if key in trials]
    view = StudyView(trials, metric, settings.is_larger_better, keys, list_log_keys(search.plan))
    figures = {"history": draw_history(view)}
    if view.complete.empty:
        return figures
    for cost in (key for key in settings.objectives if key != metric):
        numbers = build_front_table(trials, settings)["number"].tolist()
        figures[f"front_{cost.replace('/', '_')}"] = draw_front(view, cost, numbers)
    importances = compute_importances(search.study, search.plan)
    for number, group in enumerate((importances, *importances["conditional"])):
        if any(group["importances"][metric].values()):
            name = f"importance_{number}" if number else "importance"
            figures[name] = draw_importances(group, metric)
    figures |= {f"slice_{key}": draw_slice(view, key) for key in keys}
    for key in list_pairs(search.plan, keys):
        figures[f"map_{PAIRED}_{key}"] = draw_pair(view, PAIRED, key)
    figures["parallel"] = draw_parallel(view)
    return figures


def list_log_keys(plan: Plan) -> frozenset[str]:
    """Return the keys whose range is searched by its logarithm."""
    ranges = (FloatParameter, IntParameter)
    return frozenset(k for k, p in plan.space.items() if isinstance(p, ranges) and p.log)


def list_pairs(plan: Plan, keys: list[str]) -> list[str]:
    """Return the numeric keys that are drawn against the share of patches."""
    ranges = (FloatParameter, IntParameter)
    if PAIRED not in keys:
        return []
    return [key for key in keys if key != PAIRED and isinstance(plan.space[key], ranges)]
