"""Rollouts at several depths side by side, and how much of each lies on the parts (ours)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dcal.analysis.depths import SHARE, measure_uniform, summarise_depths
from dcal.inference.depths import Rollouts
from dcal.inference.scoring import Scoring
from dcal.visual.attention_maps import enlarge, paint_rollout
from dcal.visual.figures import BRANCH_COLOURS, MUTED, house_style, new_figure
from dcal.visual.gallery import to_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 1.4  # inches, the width of a picture
_GREY = 128  # of what a map lies on where its picture may not be shown


def draw_rollouts(rollouts: Rollouts, scoring: Scoring, *, show_pictures: bool = True) -> Figure:
    """Draw a row a picture: the picture, then its rollouts over more and more blocks.

    Args:
        rollouts: Of `dcal.inference.depths.roll_out_depths`.
        scoring: The model and the normalisation of its pictures.
        show_pictures: False: the maps alone, on grey.
    """
    images = [enlarge(to_pixels(image, scoring)) for image in rollouts.images]  # (H, W, 3) each
    titles = [*(["picture"] if show_pictures else []), *map(name_depth, rollouts.maps)]
    height, width = images[0].shape[:2]
    with house_style():
        figure = new_figure(
            _PANEL * len(titles), 0.2 + (_PANEL * height / width + 0.05) * len(images)
        )
        axes = figure.subplots(len(images), len(titles), squeeze=False)
        for row, pixels in enumerate(images):
            ground = pixels if show_pictures else np.full_like(pixels, _GREY)
            painted = [paint_rollout(ground, of[row].numpy()) for of in rollouts.maps.values()]
            panels = [ground, *painted] if show_pictures else painted
            for place, panel in zip(axes[row], panels, strict=True):
                place.imshow(panel)
                place.set_axis_off()
        for place, title in zip(axes[0], titles, strict=True):
            place.set_title(title, fontsize=9, loc="center")
    return figure


def describe_rollouts(rollouts: Rollouts, *, show_pictures: bool = True) -> str:
    """Say in words what `draw_rollouts` drew."""
    beside = " beside the picture" if show_pictures else ""
    depths = ", ".join(map(str, rollouts.maps))
    return (
        f"Rollouts over the first {depths} blocks, each row one of {len(rollouts.images)} test "
        f"pictures{beside}"
    )


def name_depth(num_blocks: int) -> str:
    """Return a number of blocks in words."""
    return "1 block" if num_blocks == 1 else f"{num_blocks} blocks"


def draw_depths(scores: pd.DataFrame) -> Figure:
    """Draw the share of the rollout on the parts by number of blocks, beside a uniform map's.

    The band is the 95 % bootstrap interval over the pictures.

    Args:
        scores: Of `dcal.inference.depths.score_depths`; not empty.
    """
    import seaborn

    depths = sorted(scores["num_blocks"].unique())
    with house_style():
        figure = new_figure(7, 3)
        axes = figure.add_subplot()
        seaborn.lineplot(
            scores, x="num_blocks", y="energy_share", errorbar=("ci", 95), seed=0,
            marker="o", color=BRANCH_COLOURS["sa"], label="rollout", ax=axes,
        )  # fmt: skip
        uniform = measure_uniform(scores)
        axes.axhline(uniform, linestyle="--", color=MUTED, linewidth=1, label="uniform map")
        axes.set(xlabel="blocks", ylabel=SHARE, xticks=depths, ylim=(0, None))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def describe_depths(scores: pd.DataFrame) -> str:
    """Say in words where the line of `draw_depths` goes."""
    shares = summarise_depths(scores)[SHARE]
    told = ", ".join(f"{share:.3f} at {depth}" for depth, share in shares.items())
    uniform = f"a uniform map {measure_uniform(scores):.3f}"
    return f"Share of the rollout on the parts by number of blocks: {told}; {uniform}"
