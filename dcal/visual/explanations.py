"""A picture, where the model looks on it, what GLCA reads of it, and every block (ours)."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from dcal.inference.explanation import Explanation
from dcal.visual.attention_maps import enlarge, paint_choice, paint_rollout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL_SIDE = 160  # pixels of a block's panel
_WIDTH = 9.2  # inches


def draw_explanation(explanation: Explanation) -> Figure:
    """Draw three large panels, and below them each block's own attention and the rollout to it."""
    from dcal.visual.figures import house_style, new_figure

    image = np.ascontiguousarray((explanation.image * 255).round().byte().permute(1, 2, 0).numpy())
    num_blocks = len(explanation.rollouts)
    shape = image.shape[0] / image.shape[1]
    heights = (_WIDTH / 3 * shape, *(_WIDTH / num_blocks * shape,) * 2)
    with house_style():
        figure = new_figure(_WIDTH, sum(heights) + 1.5)
        figure.suptitle(_title(explanation), fontsize=9.5, fontweight="bold", x=0.01, ha="left")
        parts: Any = figure.subfigures(3, 1, height_ratios=[height + 0.45 for height in heights])
        _draw_large(parts[0], explanation, enlarge(image))
        small = enlarge(image, longer_side=SMALL_SIDE)
        _draw_row(parts[1], "Attention of the class token", explanation.attention, small)
        _draw_row(parts[2], "Rollout over the blocks up to it", explanation.rollouts, small)
    return figure


def _draw_large(part: Any, explanation: Explanation, image: np.ndarray) -> None:
    rollout = explanation.rollouts[-1].numpy()
    panels = {
        "picture, as the model sees it": image,
        f"SA rollout, {len(explanation.rollouts)} blocks": paint_rollout(image, rollout),
        explanation.choice_label: paint_choice(
            image, explanation.chosen.numpy(), grid_size=(rollout.shape[0], rollout.shape[1])
        ),
    }
    places = part.subplots(1, len(panels))
    for axes, (heading, pixels) in zip(places, panels.items(), strict=True):
        axes.imshow(pixels)
        axes.set_axis_off()
        axes.set_title(shorten(heading, 60, placeholder="..."), fontsize=8, fontweight="normal")


def _draw_row(part: Any, title: str, maps: Tensor, image: np.ndarray) -> None:
    part.suptitle(title, fontsize=8.5, x=0.01, ha="left")
    places = part.subplots(1, len(maps), squeeze=False)[0]
    for number, (axes, each) in enumerate(zip(places, maps, strict=True), 1):
        axes.imshow(paint_rollout(image, each.numpy()))
        axes.set_axis_off()
        axes.set_title(f"block {number}", fontsize=7, fontweight="normal")


def _title(explanation: Explanation) -> str:
    said = ", ".join(f"{name} {share:.0%}" for name, share in explanation.predictions)
    name = explanation.picture.name
    return f"{shorten(name, 60, placeholder='...')}: {said}" if said else name
