"""Pictures of notebooks are described."""

from __future__ import annotations

import base64

from dcal.visual.figures import new_figure
from dcal.visual.notebook_figures import DescribedFigure


def test_a_figure_is_a_png_with_its_description() -> None:
    figure = new_figure(1, 1)
    data, metadata = DescribedFigure(figure, "One square inch")._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert metadata == {"image/png": {"alt": "One square inch"}}
