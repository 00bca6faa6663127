"""The pages themselves: each one HTML file that needs no other (ours)."""

from __future__ import annotations

from dcal.visual.report.comparison import build_comparison
from dcal.visual.report.facts import build_page, build_run
from dcal.visual.report.inputs import ReportInputs
from dcal.visual.report.next_steps import build_next_steps
from dcal.visual.report.pictures import build_looking, build_pairs
from dcal.visual.report.ranking import build_ranking
from dcal.visual.report.scores import build_classes, build_curves, build_scores
from dcal.visual.report.templates import fill


def render_report(inputs: ReportInputs) -> str:
    """Return the report as one HTML page: pictures, drawings and styles are part of it.

    Raises:
        KeyError: run.json or a metrics file lacks what the report shows.
        OSError: A picture or an overlay that should be shown is gone.
    """
    if inputs.is_reid:
        sections = build_ranking(inputs)
        results = {"ranking": fill("ranking.html", **sections), "has_pairs": sections["pairs"]}
    else:
        pairs = build_pairs(inputs)
        results = {
            "ranking": None,
            "scores": build_scores(inputs),
            "classes": build_classes(inputs),
            "pairs": pairs,
            "has_pairs": pairs,
        }
    return fill(
        "report.html",
        page=build_page(inputs),
        **results,
        curves=build_curves(inputs),
        looking=build_looking(inputs),
        comparison=build_comparison(inputs),
        run=build_run(inputs),
        next_steps=build_next_steps(inputs),
    )


def render_notebook(inputs: ReportInputs | None, *, title: str, body: str) -> str:
    """Return a notebook's texts and outputs as a page of the report's look.

    Args:
        inputs: The run that the notebook was executed on; None = it tells of no single run.
        title: For the browser; the page's own heading is part of `body`.
        body: HTML without styles.
    """
    page = build_page(inputs) if inputs else {"title": "DCAL Workbench", "tags": []}
    return fill("notebook.html", page=page, title=title, body=body)
