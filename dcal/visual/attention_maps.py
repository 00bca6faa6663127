"""Where a model looks, painted over its picture (ours).

Pixels are 8-bit RGB arrays (height, width, 3); small pictures are enlarged first, so that outlines
stay thin beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from PIL import Image

from dcal.metrics.localization import upsample_rollout
from dcal.paths import replace_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHOICE_COLOUR = (255, 196, 0)
PART_COLOUR = (0, 214, 201)
LONGER_SIDE = 320  # pixels of a painted panel


@dataclass(frozen=True)
class Overlay:
    """One picture as the model sees it, and what the model made of it."""

    image: np.ndarray  # (H, W, 3) 8-bit: the model's input
    rollout: np.ndarray  # (rows, columns)
    chosen: np.ndarray  # (R,) patch positions in reading order
    mask: np.ndarray | None  # (H, W) bool: where the parts are
    title: str  # what it is, and what the model said
    rollout_label: str
    choice_label: str


def paint_panels(overlay: Overlay) -> dict[str, np.ndarray]:
    """Return the panels of an overlay: picture, rollout, choice, and parts where they are known.

    All have one size, whose longer side is at least 320 pixels.
    """
    image = enlarge(overlay.image)
    panels = {
        "picture": image,
        "rollout": paint_rollout(image, overlay.rollout),
        "choice": paint_choice(image, overlay.chosen, grid_size=_grid_size(overlay)),
    }
    if overlay.mask is not None:
        panels["parts"] = paint_parts(image, overlay.mask)
    return panels


def enlarge(image: np.ndarray, *, longer_side: int = LONGER_SIDE) -> np.ndarray:
    """Scale a picture up so that its longer side has at least so many pixels."""
    height, width = image.shape[:2]
    factor = max(longer_side / max(height, width), 1.0)
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def paint_rollout(image: np.ndarray, rollout: np.ndarray) -> np.ndarray:
    """Lay a map on the patch grid over a picture, from unseen (grey) to the map's own peak."""
    from matplotlib import colormaps

    height, width = image.shape[:2]
    surface = upsample_rollout(torch.from_numpy(np.array(rollout)), size=(height, width)).numpy()
    lowest, highest = float(surface.min()), float(surface.max())
    strength = (surface - lowest) / max(highest - lowest, 1e-12)  # (H, W) in [0, 1]
    heat = colormaps["inferno"](0.2 + 0.8 * strength)[..., :3] * 255
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.75
    opacity = (0.08 + 0.72 * strength)[..., None]
    return _to_pixels(grey * (1 - opacity) + heat * opacity)


def paint_choice(
    image: np.ndarray, chosen: np.ndarray, *, grid_size: tuple[int, int]
) -> np.ndarray:
    """Darken all patches but the chosen ones, and outline those."""
    is_chosen = np.zeros(grid_size[0] * grid_size[1], dtype=bool)
    is_chosen[chosen] = True
    mask = _stretch(is_chosen.reshape(grid_size), size=(image.shape[0], image.shape[1]))
    dimmed = image * np.where(mask, 1.0, 0.38)[..., None]
    return _outline(_to_pixels(dimmed), mask, colour=CHOICE_COLOUR)


def paint_parts(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Darken a picture a little and outline a mask, which may have another size, on it."""
    full = _stretch(mask, size=(image.shape[0], image.shape[1]))
    dimmed = image * np.where(full, 1.0, 0.6)[..., None]
    return _outline(_to_pixels(dimmed), full, colour=PART_COLOUR)


def draw_overlay(overlay: Overlay) -> Figure:
    """Draw an overlay's panels side by side with their headings."""
    from dcal.visual.figures import house_style, new_figure

    panels = paint_panels(overlay)
    texts = {
        "picture": "picture",
        "rollout": overlay.rollout_label,
        "choice": overlay.choice_label,
        "parts": "annotated parts",
    }
    headings = [fill(texts[name], 38) for name in panels]
    num_lines = 1 + max(heading.count("\n") for heading in headings)
    height, width = panels["picture"].shape[:2]
    panel_width = 2.3
    with house_style():
        figure = new_figure(
            panel_width * len(panels), panel_width * height / width + 0.32 + 0.15 * num_lines
        )
        places = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, heading, pixels in zip(places, headings, panels.values(), strict=True):
            axes.imshow(pixels)
            axes.set_axis_off()
            axes.set_title(heading, fontsize=8, fontweight="normal")
        figure.suptitle(overlay.title, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure


def save_gallery(folder: Path, overlays: Sequence[Overlay], table: pd.DataFrame) -> None:
    """Write a folder of overlays, as a whole or not at all.

    `<name>.png` is an overlay with its headings, `panels/<name>_<panel>.webp` are its panels, and
    index.csv is `table`.

    Args:
        folder: What it replaces.
        overlays: One a row of the table.
        table: What is known of each; the column `name` names the files.
    """
    from dcal.visual.figures import allow_missing_glyphs

    with replace_folder(folder) as target:
        (target / "panels").mkdir()
        for name, overlay in zip(table["name"], overlays, strict=True):
            with allow_missing_glyphs():
                draw_overlay(overlay).savefig(target / f"{name}.png", dpi=110)
            for panel, pixels in paint_panels(overlay).items():
                path = target / "panels" / f"{name}_{panel}.webp"
                Image.fromarray(pixels).save(path, quality=82, method=6)
        table.to_csv(target / "index.csv", index=False)


def stack_pictures(paths: Sequence[Path]) -> Image.Image:
    """Return picture files as one picture, each below the one before, on white."""
    pictures = []
    for path in paths:
        with Image.open(path) as opened:
            pictures.append(opened.convert("RGB"))
    width = max(picture.width for picture in pictures)
    sheet = Image.new("RGB", (width, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def _grid_size(overlay: Overlay) -> tuple[int, int]:
    return overlay.rollout.shape[0], overlay.rollout.shape[1]


def _stretch(mask: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    rows = ((np.arange(size[0]) + 0.5) * mask.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * mask.shape[1] / size[1]).astype(int)
    return mask[np.ix_(rows, columns)]


def _outline(image: np.ndarray, mask: np.ndarray, *, colour: tuple[int, int, int]) -> np.ndarray:
    from scipy.ndimage import binary_dilation, binary_erosion

    # One pixel inside and one outside, so that neighbouring areas keep a line of even width.
    padded = np.pad(mask, 2)
    edge = (binary_dilation(padded) & ~binary_erosion(padded))[2:-2, 2:-2]
    painted = image.copy()
    painted[edge] = colour
    return painted


def _to_pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
