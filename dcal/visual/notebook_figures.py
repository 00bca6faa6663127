"""Figures below a notebook's cells, with words for readers who cannot see them (ours)."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG = "image/png"


class DescribedFigure(NamedTuple):
    """What IPython's `display` shows as a picture; its page has the description as alt text."""

    figure: Figure
    description: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", bbox_inches="tight")
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        return {PNG: data}, {PNG: {"alt": self.description}}
