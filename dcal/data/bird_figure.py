"""The figure of one bird: its nuisances (pose, shape, body colour) and its six parts (ours).

Figure coordinates: the body's centre is (0, 0), the bird looks to the right, y points down, and
one unit is about the length of the body without head and tail.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass

from dcal.data.drawing import Canvas, Colour, Dice, Frame, Point, arc, ellipse, mix, ribbon

CROWN, WING_BARS, BEAK, EYE_RING, TAIL, BREAST = range(1, 7)  # ids in the mask

BLACK: Colour = (22, 20, 26)
WHITE: Colour = (246, 244, 238)
YELLOW: Colour = (250, 206, 40)
ORANGE: Colour = (240, 132, 32)
CROWN_COLOURS: dict[str, Colour] = {
    "red": (214, 36, 40),
    "yellow": YELLOW,
    "blue": (44, 92, 214),
    "white": WHITE,
    "green": (40, 160, 70),
    "violet": (150, 52, 190),
}
PATCH_COLOURS: tuple[Colour, ...] = (*CROWN_COLOURS.values(), ORANGE, BLACK)


@dataclass(frozen=True)
class Shape:
    """What differs between two pictures of one class: proportions, attitude and body colour."""

    length: float  # half axes of the body
    height: float
    head: Point
    head_radius: float
    gaze: float  # angle of the head, radians
    tail_angle: float
    wing_angle: float
    crest: float  # how far the crown stands up, in head radii
    body: Colour
    wing: Colour
    belly: Colour


def draw_shape(dice: Dice) -> Shape:
    """Draw the proportions, the attitude and the colours of a bird, whatever its class."""
    length, height = dice.uniform(0.47, 0.58), dice.uniform(0.33, 0.41)
    body = _draw_body_colour(dice)
    return Shape(
        length=length,
        height=height,
        head=(length * dice.uniform(0.70, 0.92), -height - dice.uniform(-0.02, 0.10)),
        head_radius=dice.uniform(0.27, 0.32),
        gaze=dice.uniform(-0.30, 0.30),
        tail_angle=dice.uniform(-0.35, 0.45),
        wing_angle=dice.uniform(-0.15, 0.30),
        crest=dice.uniform(0.0, 0.45),
        body=body,
        wing=mix(body, BLACK, ratio=dice.uniform(0.35, 0.60)),
        belly=mix(body, WHITE, ratio=dice.uniform(0.40, 0.65)),
    )


def paint_bird(
    canvas: Canvas, frame: Frame, dice: Dice, *, shape: Shape, parts: Mapping[str, str]
) -> None:
    """Paint a bird with the named value of every part, back to front."""
    brush = _Brush(canvas, frame, dice)
    _paint_tail(brush, shape, parts["tail"])
    _paint_legs(brush, shape)
    brush.paint(ellipse((0, 0), (shape.length, shape.height), angle=-0.25), shape.body)
    brush.paint(ellipse(shape.head, (shape.head_radius, shape.head_radius)), shape.body)
    _paint_breast(brush, shape, parts["breast"])
    _paint_wing(brush, shape, parts["wing_bars"])
    _paint_beak(brush, shape, parts["beak"])
    _paint_crown(brush, shape, parts["crown"])
    _paint_eye(brush, shape, parts["eye_ring"])


class _Brush:
    """Paints figure points through a frame, with a little colour variation for every stroke."""

    def __init__(self, canvas: Canvas, frame: Frame, dice: Dice) -> None:
        self._canvas, self._frame, self.dice = canvas, frame, dice

    def paint(self, points: list[Point], colour: Colour, part: int = 0) -> None:
        colour = self.dice.jitter(colour, spread=10)
        self._canvas.paint(self._frame.place(points), colour=colour, part=part)


def _draw_body_colour(dice: Dice) -> Colour:
    hue, saturation, value = dice.uniform(0, 1), dice.uniform(0.15, 0.75), dice.uniform(0.40, 0.80)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _along(origin: Point, angle: float, points: list[Point]) -> list[Point]:
    """Turn points about (0, 0) by an angle, then move them to the origin."""
    return Frame(origin, scale=1.0, angle=angle).place(points)


def _paint_tail(brush: _Brush, shape: Shape, value: str) -> None:
    # The tail's own axis: x away from the body.
    root = (-0.80 * shape.length, 0.10 * shape.height)
    angle = math.pi - shape.tail_angle
    outlines: dict[str, list[Point]] = {
        "square": [(0.0, -0.12), (0.68, -0.23), (0.68, 0.23), (0.0, 0.12)],
        "tipped": [(0.0, -0.12), (0.68, -0.23), (0.68, 0.23), (0.0, 0.12)],
        "forked": [(0.0, -0.12), (0.84, -0.42), (0.30, 0.0), (0.84, 0.42), (0.0, 0.12)],
        "pointed": [(0.0, -0.12), (0.26, -0.24), (0.90, 0.0), (0.26, 0.24), (0.0, 0.12)],
    }
    brush.paint(_along(root, angle, outlines[value]), shape.wing, TAIL)
    if value == "tipped":
        tip: list[Point] = [(0.38, -0.18), (0.68, -0.23), (0.68, 0.23), (0.38, 0.18)]
        brush.paint(_along(root, angle, tip), WHITE, TAIL)


def _paint_legs(brush: _Brush, shape: Shape) -> None:
    for x in (-0.05, 0.10):
        foot = (x + 0.03, shape.height + 0.24)
        brush.paint(ribbon((x, 0.7 * shape.height), foot, half_widths=(0.025, 0.02)), BLACK)


def _paint_breast(brush: _Brush, shape: Shape, value: str) -> None:
    centre = (0.50 * shape.length, 0.16 * shape.height)
    radii = (0.48 * shape.length, 0.70 * shape.height)
    dark = mix(shape.belly, BLACK, ratio=0.80)
    angle = -0.35
    brush.paint(ellipse(centre, radii, angle=angle), shape.belly, BREAST)

    def inside(points: list[Point]) -> list[Point]:
        return _along(centre, angle, [(radii[0] * x, radii[1] * y) for x, y in points])

    if value == "spotted":
        for x, y in ((-0.30, 0.55), (0.20, 0.62), (0.52, 0.18), (0.05, 0.12), (0.30, -0.35)):
            brush.paint(inside(ellipse((x, y), (0.17, 0.14))), dark, BREAST)
    elif value == "streaked":
        for x in (-0.32, 0.02, 0.36, 0.68):
            reach = 0.92 * math.sqrt(1 - x * x)
            strip = ribbon((x, -0.8 * reach), (x, reach), half_widths=(0.075, 0.075))
            brush.paint(inside(strip), dark, BREAST)
    elif value == "banded":
        strip = ribbon((-0.6, -0.12), (0.97, -0.12), half_widths=(0.24, 0.22))
        brush.paint(inside(strip), dark, BREAST)
    elif value == "bibbed":
        bib: list[Point] = [
            (-0.30, -0.92),
            (0.42, -0.90),
            (0.98, -0.20),
            (0.66, 0.28),
            (0.10, 0.05),
        ]
        brush.paint(inside(bib), dark, BREAST)


def _paint_wing(brush: _Brush, shape: Shape, value: str) -> None:
    # The wing's own axis: x from the shoulder to the tip.
    shoulder = (0.12 * shape.length, -0.26 * shape.height)
    angle = math.pi - shape.wing_angle
    outline: list[Point] = [
        (-0.06, 0.02), (0.04, 0.17), (0.22, 0.23), (0.44, 0.20), (0.70, 0.08), (0.84, -0.02),
        (0.66, -0.12), (0.40, -0.19), (0.16, -0.19), (0.0, -0.12),
    ]  # fmt: skip
    field: list[Point] = [(0.12, -0.17), (0.12, 0.19), (0.56, 0.14), (0.56, -0.14)]
    brush.paint(_along(shoulder, angle, outline), shape.wing)
    # The part is the field that bars may stand in, so that their absence has a place too.
    brush.paint(_along(shoulder, angle, field), shape.wing, WING_BARS)
    count, _, name = value.partition(" ")
    if count == "none":
        return
    colour = {"white": WHITE, "yellow": YELLOW}[name]
    for x in {"one": (0.34,), "two": (0.22, 0.46)}[count]:
        bar = ribbon((x, -0.16), (x + 0.03, 0.18), half_widths=(0.055, 0.065))
        brush.paint(_along(shoulder, angle, bar), colour, WING_BARS)


def _on_head(shape: Shape, points: list[Point]) -> list[Point]:
    scaled = [(shape.head_radius * x, shape.head_radius * y) for x, y in points]
    return _along(shape.head, shape.gaze, scaled)


def _paint_beak(brush: _Brush, shape: Shape, value: str) -> None:
    form, _, name = value.partition(" ")
    colour = {"dark": BLACK, "orange": ORANGE}[name]
    outlines: dict[str, list[Point]] = {
        "short": [(0.70, -0.50), (1.70, 0.20), (0.74, 0.64)],
        "long": [(0.74, -0.36), (2.50, 0.14), (2.50, 0.34), (0.78, 0.50)],
    }
    brush.paint(_on_head(shape, outlines[form]), colour, BEAK)


def _paint_crown(brush: _Brush, shape: Shape, value: str) -> None:
    cap = arc((0.0, 0.0), 1.08, start=math.radians(-172), stop=math.radians(-22))
    # A crest at the back of the head is a nuisance: only the colour belongs to the class.
    cap[3] = (cap[3][0] - 0.6 * shape.crest, cap[3][1] - shape.crest)
    brush.paint(_on_head(shape, [*cap, (0.2, -0.42)]), CROWN_COLOURS[value], CROWN)


def _paint_eye(brush: _Brush, shape: Shape, value: str) -> None:
    centre = (0.36, -0.06)
    skin = {"none": shape.body, "white": WHITE, "yellow": YELLOW}[value]
    brush.paint(_on_head(shape, ellipse(centre, (0.42, 0.42))), skin, EYE_RING)
    brush.paint(_on_head(shape, ellipse(centre, (0.20, 0.20))), BLACK, EYE_RING)
