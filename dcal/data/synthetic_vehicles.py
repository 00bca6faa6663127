"""Drawn vehicles: identities that are six small marks on shared bodies, seen by cameras (ours).

What fills a picture (body, its colour, the camera's view, light and background) is shared by many
identities, so that colour histograms and pixels find the camera and not the vehicle.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcal.data.drawing import Canvas, Dice, Frame
from dcal.data.vehicle_figure import BODIES, BODY_COLOURS, Brush, paint_vehicle
from dcal.data.vehicle_scene import Scene, draw_scene, light_picture, paint_background

# In the order of the ids in the mask.
MARK_VALUES: dict[str, tuple[str, ...]] = {
    "roof": ("none", "rack", "box", "sign", "beacon"),
    "wheels": ("dark", "silver", "ringed", "yellow"),
    "door": ("none", "red disc", "white square", "blue diamond", "yellow bar", "green triangle"),
    "window": ("none", "white", "orange", "green"),
    "plate": ("white white", "yellow yellow", "blue white", "white red", "green yellow"),
    "fenders": ("none", "rear", "front", "both"),
}
MARK_NAMES = tuple(MARK_VALUES)
_SIZES = tuple(len(values) for values in MARK_VALUES.values())
MAX_IDENTITIES = math.prod(_SIZES) // 4
FAMILY_SIZE = 4


class Vehicle(NamedTuple):
    """One identity."""

    body: str
    colour: int  # position in BODY_COLOURS
    marks: tuple[int, ...]  # the position in MARK_VALUES of each mark's value

    def describe_marks(self) -> dict[str, str]:
        """Name the value of every mark."""
        return {
            name: values[position]
            for (name, values), position in zip(MARK_VALUES.items(), self.marks, strict=True)
        }


class DrawnVehicle(NamedTuple):
    """A picture (height, width, 3) and its mark ids (height, width), both 8-bit."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def choose_vehicles(num_identities: int, *, seed: int) -> list[Vehicle]:
    """Choose identities in families of four on one body, one or two marks from the first.

    No two have the same marks, whatever their bodies.

    Raises:
        ValueError: There are not that many.
    """
    if not 1 <= num_identities <= MAX_IDENTITIES:
        raise ValueError(
            f"expected 1 to {MAX_IDENTITIES} identities of drawn vehicles; got {num_identities}"
        )
    generator = np.random.default_rng(np.random.SeedSequence([seed, num_identities]))
    chosen: list[Vehicle] = []
    known: set[tuple[int, ...]] = set()
    while len(chosen) < num_identities:
        if len(chosen) % FAMILY_SIZE == 0:
            first = Vehicle(
                list(BODIES)[generator.integers(len(BODIES))],
                int(generator.integers(len(BODY_COLOURS))),
                tuple(int(generator.integers(size)) for size in _SIZES),
            )
            candidate = first
        else:
            candidate = first._replace(marks=_change_marks(first.marks, generator))
        if candidate.marks not in known:
            known.add(candidate.marks)
            chosen.append(candidate)
    return chosen


def draw_vehicle(
    vehicle: Vehicle,
    *,
    camera: int,
    seed: int,
    index: int,
    image_size: tuple[int, int] = (64, 64),
) -> DrawnVehicle:
    """Draw one picture of an identity and its mask: a function of the arguments alone.

    Args:
        vehicle: What to draw.
        camera: What sees it, from 1.
        seed: Of the data set.
        index: Of the picture among those of the identity and camera.
        image_size: (height, width) in pixels.
    """
    scene = draw_scene(camera, seed=seed)
    dice = Dice(np.random.SeedSequence([seed, camera, index, *vehicle.marks]))
    canvas = Canvas(image_size)
    paint_background(canvas, scene, dice)
    brush = Brush(
        canvas,
        _place(canvas, scene, dice),
        dice,
        stretch=scene.stretch * dice.uniform(0.95, 1.05),
        slope=scene.slope + dice.uniform(-0.04, 0.04),
    )
    paint_vehicle(
        brush,
        body=BODIES[vehicle.body],
        colour=BODY_COLOURS[vehicle.colour],
        marks=vehicle.describe_marks(),
    )
    image = light_picture(canvas.render(scene.sky), scene, dice)
    return DrawnVehicle(image, canvas.render_mask())


def _change_marks(marks: tuple[int, ...], generator: np.random.Generator) -> tuple[int, ...]:
    changed = list(marks)
    for mark in generator.permutation(len(_SIZES))[: generator.integers(1, 3)]:
        step = int(generator.integers(1, _SIZES[mark]))
        changed[mark] = (changed[mark] + step) % _SIZES[mark]
    return tuple(changed)


def _place(canvas: Canvas, scene: Scene, dice: Dice) -> Frame:
    unit = min(canvas.height, canvas.width) * scene.scale * dice.uniform(0.90, 1.06)
    origin = (
        canvas.width / 2 + unit * dice.uniform(-0.18, 0.18),
        canvas.height * scene.horizon + unit * dice.uniform(-0.14, 0.22),
    )
    angle = scene.angle + dice.uniform(-0.07, 0.07)
    return Frame(origin, scale=unit, angle=angle, is_flipped=scene.is_flipped)
