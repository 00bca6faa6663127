"""The page itself: its sections filled into one HTML file that needs no other (ours)."""

from __future__ import annotations

from importlib.resources import files

from dcal.visual.report.facts import build_next_steps, build_page, build_run
from dcal.visual.report.inputs import ReportInputs
from dcal.visual.report.pictures import build_looking, build_pairs
from dcal.visual.report.scores import build_classes, build_curves, build_scores


def render_report(inputs: ReportInputs) -> str:
    """Return the report as one HTML page: pictures, drawings and styles are part of it.

    Raises:
        KeyError: run.json or a metrics file lacks what the report shows.
        OSError: A picture or an overlay that should be shown is gone.
    """
    from jinja2 import Environment, StrictUndefined

    folder = files("dcal.visual.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(folder.joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        css=folder.joinpath("report.css").read_text(encoding="utf-8"),
        page=build_page(inputs),
        scores=build_scores(inputs),
        curves=build_curves(inputs),
        classes=build_classes(inputs),
        pairs=build_pairs(inputs),
        looking=build_looking(inputs),
        run=build_run(inputs),
        next_steps=build_next_steps(inputs),
    )
