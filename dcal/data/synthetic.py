"""Drawn birds: classes that are combinations of six small parts, and their pictures (ours).

Everything that fills most of a picture (pose, body colour, light, clutter, an occluder) is drawn
independently of the class, and the clutter repeats every part colour, so that neither colour
histograms nor pixels tell the classes apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcal.data.bird_figure import PATCH_COLOURS, draw_shape, paint_bird
from dcal.data.drawing import Canvas, Colour, Dice, Frame, Point, ellipse, ribbon

# In the order of the ids in the mask.
PART_VALUES: dict[str, tuple[str, ...]] = {
    "crown": ("red", "yellow", "blue", "white", "green", "violet"),
    "wing_bars": ("none", "one white", "two white", "one yellow", "two yellow"),
    "beak": ("short dark", "short orange", "long dark", "long orange"),
    "eye_ring": ("none", "white", "yellow"),
    "tail": ("square", "forked", "pointed", "tipped"),
    "breast": ("plain", "spotted", "streaked", "banded", "bibbed"),
}
PART_NAMES = tuple(PART_VALUES)
# Pre-training never shows the last three colours on a crown, so its combinations and those of
# data sets are disjoint, and a fine-tuned model meets something new.
PRETRAINING_CROWNS = (0, 1, 2)
DATASET_CROWNS = (3, 4, 5)

Combination = tuple[int, ...]  # the position in PART_VALUES of each part's value


class DrawnBird(NamedTuple):
    """A picture (height, width, 3) and its part ids (height, width), both 8-bit."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def choose_classes(num_classes: int, *, seed: int) -> list[Combination]:
    """Choose classes in families of four: three members differ from the first in one part each.

    No class has a crown that pre-training shows.

    Raises:
        ValueError: There are not that many combinations.
    """
    sizes = _part_sizes(DATASET_CROWNS)
    if not 2 <= num_classes <= math.prod(sizes) // 4:
        raise ValueError(
            f"expected 2 to {math.prod(sizes) // 4} classes of drawn birds; got {num_classes}"
        )
    generator = np.random.default_rng(np.random.SeedSequence([seed, num_classes]))
    chosen: list[Combination] = []
    part_order = generator.permutation(len(sizes)).tolist()
    changes = 0
    while len(chosen) < num_classes:
        if len(chosen) % 4 == 0:
            candidate = [int(generator.integers(size)) for size in sizes]
        else:
            candidate = list(chosen[len(chosen) // 4 * 4])
            part = part_order[changes % len(sizes)]
            changes += 1
            candidate[part] = (candidate[part] + int(generator.integers(1, sizes[part]))) % sizes[
                part
            ]
        if tuple(candidate) not in chosen:
            chosen.append(tuple(candidate))
    return [(DATASET_CROWNS[crown], *rest) for crown, *rest in chosen]


def choose_pretraining_combinations(
    num_combinations: int, *, seed: int, skip: int = 0
) -> list[Combination]:
    """Choose different combinations for pre-training; `skip` passes over the first so many."""
    sizes = _part_sizes(PRETRAINING_CROWNS)
    if skip + num_combinations > math.prod(sizes):
        raise ValueError(
            f"expected at most {math.prod(sizes)} pre-training combinations in all; "
            f"got {skip + num_combinations}"
        )
    order = np.random.default_rng(np.random.SeedSequence([seed])).permutation(math.prod(sizes))
    rows = np.stack(np.unravel_index(order[skip : skip + num_combinations], sizes), axis=1)
    return [(PRETRAINING_CROWNS[crown], *rest) for crown, *rest in rows.tolist()]


def describe_parts(combination: Combination) -> dict[str, str]:
    """Name the value of every part."""
    return {
        name: values[position]
        for (name, values), position in zip(PART_VALUES.items(), combination, strict=True)
    }


def draw_bird(
    combination: Combination, *, seed: int, index: int, image_size: tuple[int, int] = (64, 64)
) -> DrawnBird:
    """Draw one picture of a class and its mask: a function of the arguments alone.

    Args:
        combination: What to draw on the bird.
        seed: Of the data set.
        index: Of the picture within its class.
        image_size: (height, width) in pixels.
    """
    dice = Dice(np.random.SeedSequence([seed, index, *combination]))
    canvas = Canvas(image_size)
    unit = min(canvas.height, canvas.width) * dice.uniform(0.33, 0.43)
    _paint_clutter(canvas, dice, unit=unit)
    frame = _draw_frame(canvas, dice, unit=unit)
    shape = draw_shape(dice)
    _paint_perch(canvas, frame, dice, depth=shape.height + 0.26)
    paint_bird(canvas, frame, dice, shape=shape, parts=describe_parts(combination))
    if dice.chance(0.3):
        _paint_occluder(canvas, frame, dice)
    image = _light(canvas.render(_draw_backdrop(dice)), dice)
    return DrawnBird(image, canvas.render_mask())


def _draw_frame(canvas: Canvas, dice: Dice, *, unit: float) -> Frame:
    is_flipped = dice.chance(0.5)
    # With its tail a bird reaches further back than forward.
    lead = -0.15 if is_flipped else 0.15
    origin = (
        canvas.width / 2 + unit * (lead + dice.uniform(-0.22, 0.22)),
        canvas.height / 2 + unit * dice.uniform(-0.10, 0.26),
    )
    return Frame(origin, scale=unit, angle=dice.uniform(-0.40, 0.40), is_flipped=is_flipped)


def _part_sizes(crowns: Sequence[int]) -> tuple[int, ...]:
    return (len(crowns), *(len(values) for values in list(PART_VALUES.values())[1:]))


def _draw_backdrop(dice: Dice) -> NDArray[np.uint8]:
    base = dice.uniform(70, 190) + dice.generator.uniform(-35, 35, 3)
    spots = dice.generator.uniform(-35, 35, (4, 4, 1)) + dice.generator.uniform(-18, 18, (4, 4, 3))
    return np.clip(base + spots, 0, 255).astype(np.uint8)


def _paint_clutter(canvas: Canvas, dice: Dice, *, unit: float) -> None:
    for _ in range(dice.integer(1, 4)):
        _paint_twig(canvas, dice, unit=unit)
    for _ in range(dice.integer(4, 9)):
        _paint_leaf(
            canvas, dice, centre=_anywhere(canvas, dice), length=unit * dice.uniform(0.15, 0.4)
        )
    for colour in PATCH_COLOURS:
        for _ in range(dice.integer(0, 2)):
            radii = (unit * dice.uniform(0.06, 0.22), unit * dice.uniform(0.06, 0.16))
            blob = ellipse(_anywhere(canvas, dice), radii, angle=dice.uniform(0, math.pi))
            canvas.paint(blob, colour=dice.jitter(colour, spread=16))


def _anywhere(canvas: Canvas, dice: Dice) -> Point:
    return dice.uniform(0, canvas.width), dice.uniform(0, canvas.height)


def _draw_leaf_colour(dice: Dice) -> Colour:
    return dice.uniform(30, 190), dice.uniform(60, 190), dice.uniform(20, 120)


def _paint_twig(canvas: Canvas, dice: Dice, *, unit: float) -> None:
    widths = (unit * dice.uniform(0.02, 0.09), unit * dice.uniform(0.02, 0.06))
    brown = (dice.uniform(50, 140), dice.uniform(40, 100), dice.uniform(25, 80))
    strip = ribbon(_anywhere(canvas, dice), _anywhere(canvas, dice), half_widths=widths)
    canvas.paint(strip, colour=brown)


def _paint_leaf(canvas: Canvas, dice: Dice, *, centre: Point, length: float) -> None:
    angle, width = dice.uniform(0, math.tau), length * dice.uniform(0.25, 0.5)
    frame = Frame(centre, scale=1.0, angle=angle)
    half = 0.5 * length
    outline = [(-half, 0.0), (-0.4 * half, width), (0.4 * half, 0.8 * width), (half, 0.0)]
    outline += [(0.4 * half, -0.8 * width), (-0.4 * half, -width)]
    canvas.paint(frame.place(outline), colour=_draw_leaf_colour(dice))


def _paint_perch(canvas: Canvas, frame: Frame, dice: Dice, *, depth: float) -> None:
    if dice.chance(0.3):
        return
    ends = ((-3.0, depth + dice.uniform(-0.5, 0.5)), (3.0, depth + dice.uniform(-0.5, 0.5)))
    # Through the feet, whatever its slope.
    drop = depth - (ends[0][1] + ends[1][1]) / 2
    start, end = ((x, y + drop) for x, y in ends)
    widths = (dice.uniform(0.04, 0.10), dice.uniform(0.04, 0.10))
    brown = (dice.uniform(60, 140), dice.uniform(45, 100), dice.uniform(30, 80))
    canvas.paint(frame.place(ribbon(start, end, half_widths=widths)), colour=brown)


def _paint_occluder(canvas: Canvas, frame: Frame, dice: Dice) -> None:
    centre = frame.place([(dice.uniform(-1.3, 1.0), dice.uniform(-0.7, 0.6))])[0]
    length = min(canvas.height, canvas.width) * dice.uniform(0.12, 0.26)
    _paint_leaf(canvas, dice, centre=centre, length=length)


def _light(image: NDArray[np.uint8], dice: Dice) -> NDArray[np.uint8]:
    """Scale brightness and tint, shade from one corner to the other, and add grain."""
    height, width = image.shape[:2]
    gain = dice.uniform(0.75, 1.15)
    tint = [gain * dice.uniform(0.92, 1.08) for _ in range(3)]
    across, down = dice.uniform(-0.2, 0.2), dice.uniform(-0.2, 0.2)
    columns = np.linspace(-across, across, width, dtype=np.float32)
    rows = np.linspace(-down, down, height, dtype=np.float32)
    shade = 1.0 + rows[:, None] + columns[None, :]  # (H, W)
    lit = image * (shade[..., None] * np.asarray(tint, dtype=np.float32))
    grain = dice.generator.integers(-7, 8, image.shape, dtype=np.int8)
    return np.clip(lit + grain, 0, 255).astype(np.uint8)
