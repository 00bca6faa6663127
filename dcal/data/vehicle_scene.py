"""What a camera adds to the vehicles that it sees: view, light and background (ours).

Each camera has its own, so that two pictures of one camera look more alike than two of one vehicle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dcal.data.drawing import Canvas, Colour, Dice, Point, ellipse, mix, ribbon
from dcal.data.vehicle_figure import MARK_COLOURS

_SEED = 0x5CE11E  # apart from the pictures' own numbers


@dataclass(frozen=True)
class Scene:
    """One camera: what stays the same in all of its pictures."""

    is_flipped: bool  # vehicles drive to the left
    scale: float  # length of half a vehicle, as a share of the picture's shorter side
    angle: float  # roll of the camera, radians
    stretch: float  # shortening along the road
    slope: float  # rise of the road a unit
    sky: NDArray[np.uint8]  # (4, 4, 3)
    road: Colour
    kerb: Colour
    horizon: float  # share of the height above the road
    objects: tuple[tuple[str, float, float, Colour], ...]  # kind, x and size as shares, colour
    gain: tuple[float, float, float]  # of red, green and blue
    shade: Point  # brightening across and down


@lru_cache(maxsize=256)
def draw_scene(camera: int, *, seed: int) -> Scene:
    """Draw the scene of a camera, numbered from 1: a function of the arguments alone."""
    dice = Dice(np.random.SeedSequence([seed, camera, _SEED]))
    light = (0.78, 1.12, 0.92, 1.22)[camera % 4] * dice.uniform(0.95, 1.05)
    # Neighbours in number differ in hue as widely as may be.
    hue = math.tau * (0.618 * camera + dice.uniform(-0.05, 0.05))
    tint = [1 + 0.15 * math.cos(hue + shift) for shift in (0.0, math.tau / 3, 2 * math.tau / 3)]
    ground = dice.uniform(70, 170)
    return Scene(
        is_flipped=camera % 2 == 0,
        scale=dice.uniform(0.36, 0.42),
        angle=dice.uniform(-0.10, 0.10),
        stretch=dice.uniform(0.84, 1.0),
        slope=dice.uniform(-0.10, 0.10),
        sky=_draw_sky(dice),
        road=dice.jitter((ground, ground, ground), spread=14),
        kerb=mix((ground, ground, ground), (250, 250, 250), ratio=dice.uniform(0.3, 0.6)),
        horizon=dice.uniform(0.50, 0.60),
        objects=tuple(_draw_object(dice) for _ in range(dice.integer(4, 6))),
        gain=(light * tint[0], light * tint[1], light * tint[2]),
        shade=(dice.uniform(-0.25, 0.25), dice.uniform(-0.2, 0.2)),
    )


def _draw_sky(dice: Dice) -> NDArray[np.uint8]:
    spots = dice.generator.uniform(-35, 35, (4, 4, 1)) + dice.generator.uniform(-15, 15, (4, 4, 3))
    return np.clip(dice.uniform(120, 195) + spots, 0, 255).astype(np.uint8)


def _draw_object(dice: Dice) -> tuple[str, float, float, Colour]:
    kind = ("house", "tree", "sign", "pole")[dice.integer(0, 3)]
    if kind == "sign":
        # Signs repeat the marks' colours, so that a colour alone tells nothing.
        colour = list(MARK_COLOURS.values())[dice.integer(0, len(MARK_COLOURS) - 1)]
    elif kind == "tree":
        colour = (dice.uniform(30, 90), dice.uniform(80, 140), dice.uniform(30, 80))
    else:
        colour = (dice.uniform(60, 200), dice.uniform(60, 190), dice.uniform(60, 180))
    return kind, dice.uniform(0.0, 1.0), dice.uniform(0.10, 0.22), colour


def paint_background(canvas: Canvas, scene: Scene, dice: Dice) -> None:
    """Paint road, kerb and the camera's objects; wind and passers-by move them a little."""
    width, height = canvas.width, canvas.height
    horizon = height * (scene.horizon + dice.uniform(-0.01, 0.01))
    drift = width * dice.uniform(-0.03, 0.03)
    for kind, x, size, colour in scene.objects:
        centre = drift + width * x, horizon
        _paint_object(
            canvas, kind, centre, size=height * size, colour=dice.jitter(colour, spread=8)
        )
    road = [(0.0, horizon), (width, horizon), (width, height), (0.0, height)]
    canvas.paint(road, colour=dice.jitter(scene.road, spread=6))
    for y, half in ((0.02, 0.012), (0.36, 0.014)):
        start = (0.0, horizon + height * y)
        end = (float(width), horizon + height * y)
        canvas.paint(
            ribbon(start, end, half_widths=(height * half, height * half)), colour=scene.kerb
        )
    for colour in MARK_COLOURS.values():
        if dice.chance(0.35):
            where = (dice.uniform(0, width), dice.uniform(0.05, 1.0) * height)
            radii = (height * dice.uniform(0.015, 0.045), height * dice.uniform(0.015, 0.04))
            canvas.paint(ellipse(where, radii), colour=dice.jitter(colour, spread=16))


def _paint_object(canvas: Canvas, kind: str, foot: Point, *, size: float, colour: Colour) -> None:
    x, y = foot
    if kind == "house":
        wall = [
            (x - size, y),
            (x - size, y - 1.5 * size),
            (x + size, y - 1.5 * size),
            (x + size, y),
        ]
        canvas.paint(wall, colour=colour)
        for place in (-0.5, 0.5):
            pane = ribbon(
                (x + place * size, y - 1.1 * size), (x + place * size, y - 0.7 * size),
                half_widths=(0.2 * size, 0.2 * size),
            )  # fmt: skip
            canvas.paint(pane, colour=mix(colour, (30, 40, 60), ratio=0.6))
    elif kind == "tree":
        trunk = ribbon((x, y), (x, y - size), half_widths=(0.12 * size, 0.1 * size))
        canvas.paint(trunk, colour=(84, 62, 44))
        canvas.paint(ellipse((x, y - 1.4 * size), (0.7 * size, 0.8 * size)), colour=colour)
    else:
        height = 2.2 * size if kind == "pole" else 1.2 * size
        post = ribbon((x, y), (x, y - height), half_widths=(0.08 * size, 0.06 * size))
        canvas.paint(post, colour=(96, 98, 104))
        if kind == "sign":
            canvas.paint(ellipse((x, y - height), (0.4 * size, 0.4 * size)), colour=colour)


def light_picture(image: NDArray[np.uint8], scene: Scene, dice: Dice) -> NDArray[np.uint8]:
    """Give a picture the camera's light, a little of the hour's, and grain."""
    height, width = image.shape[:2]
    across = scene.shade[0] + dice.uniform(-0.08, 0.08)
    down = scene.shade[1] + dice.uniform(-0.08, 0.08)
    columns = np.linspace(-across, across, width, dtype=np.float32)
    rows = np.linspace(-down, down, height, dtype=np.float32)
    shade = dice.uniform(0.92, 1.08) * (1 + rows[:, None] + columns[None, :])  # (H, W)
    tint = np.array([gain * dice.uniform(0.97, 1.03) for gain in scene.gain], dtype=np.float32)
    grain = dice.generator.integers(-6, 7, image.shape, dtype=np.int8)
    return np.clip(image * (shade[..., None] * tint) + grain, 0, 255).astype(np.uint8)
