"""Templates of pages: what they have in common is one style sheet (ours)."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

FOLDER = "dcal.visual.report"


def fill(name: str, **content: Any) -> str:
    """Return a template of this folder as text; what it lacks or a misspelt name is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_read),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(css=_read("report.css"), **content)


def _read(name: str) -> str:
    return files(FOLDER).joinpath(name).read_text(encoding="utf-8")
