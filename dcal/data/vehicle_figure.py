"""The figure of one vehicle seen from its side: a shared body and six small marks (ours).

Figure coordinates: the vehicle looks to the right, x runs from -1 (rear) to 1 (front), y points
down, the road is at about 0.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dcal.data.drawing import Canvas, Colour, Dice, Frame, Point, ellipse, mix, ribbon

ROOF, WHEELS, DOOR, WINDOW, PLATE, FENDERS = range(1, 7)  # ids in the mask

ROAD = 0.60  # where the wheels stand
BELT = -0.08  # where windows end and doors begin

BLACK: Colour = (24, 24, 28)
GLASS: Colour = (52, 66, 80)
WHITE: Colour = (244, 244, 240)
MARK_COLOURS: dict[str, Colour] = {
    "white": WHITE,
    "yellow": (248, 206, 44),
    "red": (214, 40, 44),
    "blue": (40, 88, 210),
    "green": (38, 158, 76),
    "orange": (240, 126, 30),
}
BODY_COLOURS: tuple[Colour, ...] = (
    (176, 180, 186),
    (192, 178, 152),
    (104, 122, 152),
    (118, 134, 108),
    (92, 94, 102),
)


class Body(NamedTuple):
    """One shape that many vehicles share: outlines, and where its marks go."""

    hull: tuple[Point, ...]
    cabin: tuple[Point, ...]
    windows: tuple[tuple[Point, ...], ...]  # the rear one first: its decal tells vehicles apart
    roof: tuple[float, float, float]  # x from, x to, y of what stands on it
    decal: Point  # centre of the window decal


def _window(left: float, right: float, *, top: float, slant: float = 0.0) -> tuple[Point, ...]:
    """Return a window; a slant moves the upper corner of the side that it is given for."""
    lead, trail = max(slant, 0.0), max(-slant, 0.0)
    return ((left, BELT), (left + trail, top), (right - lead, top), (right, BELT))


BODIES: dict[str, Body] = {
    "sedan": Body(
        hull=((-1.0, 0.0), (-0.94, -0.10), (0.56, -0.10), (0.94, 0.02), (1.0, 0.16), (1.0, 0.42),
              (-1.0, 0.42)),
        cabin=((-0.74, -0.08), (-0.46, -0.50), (0.20, -0.50), (0.54, -0.08)),
        windows=(_window(-0.62, -0.16, top=-0.42, slant=-0.22),
                 _window(-0.08, 0.42, top=-0.42, slant=0.26)),
        roof=(-0.40, 0.16, -0.50),
        decal=(-0.29, -0.23),
    ),
    "hatchback": Body(
        hull=((-0.94, -0.06), (-0.90, -0.10), (0.50, -0.10), (0.90, 0.04), (0.96, 0.18),
              (0.96, 0.42), (-0.94, 0.42)),
        cabin=((-0.92, -0.08), (-0.78, -0.54), (0.12, -0.54), (0.50, -0.08)),
        windows=(_window(-0.80, -0.22, top=-0.45, slant=-0.10),
                 _window(-0.14, 0.38, top=-0.45, slant=0.28)),
        roof=(-0.66, 0.06, -0.54),
        decal=(-0.46, -0.25),
    ),
    "van": Body(
        hull=((-0.98, -0.10), (0.74, -0.10), (0.96, 0.08), (1.0, 0.20), (1.0, 0.42),
              (-0.98, 0.42)),
        cabin=((-0.98, -0.08), (-0.96, -0.62), (0.44, -0.62), (0.74, -0.08)),
        windows=(_window(-0.86, -0.24, top=-0.50), _window(0.00, 0.60, top=-0.50, slant=0.22)),
        roof=(-0.70, 0.30, -0.62),
        decal=(-0.55, -0.29),
    ),
    "pickup": Body(
        hull=((-1.0, -0.06), (-0.30, -0.06), (-0.30, -0.10), (0.56, -0.10), (0.92, 0.00),
              (1.0, 0.16), (1.0, 0.42), (-1.0, 0.42)),
        cabin=((-0.36, -0.08), (-0.28, -0.54), (0.22, -0.54), (0.52, -0.08)),
        windows=(_window(-0.26, 0.06, top=-0.45, slant=-0.05),
                 _window(0.12, 0.42, top=-0.45, slant=0.20)),
        roof=(-0.26, 0.20, -0.54),
        decal=(-0.09, -0.25),
    ),
}  # fmt: skip
WHEEL_CENTRES: tuple[Point, Point] = ((-0.58, 0.40), (0.60, 0.40))


class Brush:
    """Paints figure points as a camera sees them, with a little colour variation a stroke.

    Args:
        canvas: What to paint on.
        frame: Where the figure stands on it.
        dice: Of the picture.
        stretch: Shortens the figure along the road, as a view from ahead or behind does.
        slope: How much the road rises a unit of x.
    """

    def __init__(
        self, canvas: Canvas, frame: Frame, dice: Dice, *, stretch: float, slope: float
    ) -> None:
        self._canvas, self._frame, self._dice = canvas, frame, dice
        self._stretch, self._slope = stretch, slope

    def paint(self, points: list[Point] | tuple[Point, ...], colour: Colour, part: int = 0) -> None:
        """Paint a polygon of figure points."""
        seen = [(self._stretch * x, y + self._slope * x) for x, y in points]
        colour = self._dice.jitter(colour, spread=8)
        self._canvas.paint(self._frame.place(seen), colour=colour, part=part)


def paint_vehicle(brush: Brush, *, body: Body, colour: Colour, marks: Mapping[str, str]) -> None:
    """Paint a vehicle with the named value of every mark, back to front."""
    brush.paint(ellipse((0.0, ROAD), (1.05, 0.09)), mix(BLACK, GLASS, ratio=0.3))
    _paint_roof(brush, body, marks["roof"])
    brush.paint(body.cabin, colour)
    brush.paint(body.hull, colour)
    brush.paint([(-0.98, 0.34), (0.98, 0.34), (0.98, 0.44), (-0.98, 0.44)], _darken(colour))
    for window in body.windows:
        brush.paint(window, GLASS)
    _paint_window(brush, body, marks["window"])
    for x in (-0.14, 0.40):
        brush.paint(ribbon((x, BELT), (x, 0.32), half_widths=(0.012, 0.012)), _darken(colour))
    _paint_lights(brush)
    _paint_fenders(brush, colour, marks["fenders"])
    _paint_door(brush, colour, marks["door"])
    _paint_plate(brush, marks["plate"])
    _paint_wheels(brush, marks["wheels"])


def _darken(colour: Colour) -> Colour:
    return mix(colour, BLACK, ratio=0.45)


def _square(centre: Point, half: Point) -> list[Point]:
    (x, y), (across, down) = centre, half
    return [(x - across, y - down), (x + across, y - down), (x + across, y + down),
            (x - across, y + down)]  # fmt: skip


def _paint_lights(brush: Brush) -> None:
    brush.paint(_square((0.92, 0.12), (0.06, 0.05)), (250, 240, 200))
    brush.paint(_square((-0.94, 0.04), (0.04, 0.07)), (170, 30, 34))


def _paint_roof(brush: Brush, body: Body, value: str) -> None:
    left, right, y = body.roof
    middle = (left + right) / 2
    # A low rail: the mark's field, so that its absence has a place too.
    brush.paint(ribbon((left, y - 0.02), (right, y - 0.02), half_widths=(0.03, 0.03)), BLACK, ROOF)
    if value == "rack":
        for x in (left + 0.05, middle, right - 0.05):
            bar = ribbon((x, y), (x, y - 0.15), half_widths=(0.035, 0.035))
            brush.paint(bar, BLACK, ROOF)
        top = ribbon((left, y - 0.15), (right, y - 0.15), half_widths=(0.03, 0.03))
        brush.paint(top, BLACK, ROOF)
    elif value == "box":
        brush.paint(ellipse((middle, y - 0.12), (0.32, 0.12)), (70, 72, 80), ROOF)
    elif value == "sign":
        brush.paint(_square((middle, y - 0.12), (0.15, 0.09)), MARK_COLOURS["yellow"], ROOF)
    elif value == "beacon":
        brush.paint(ellipse((middle, y - 0.11), (0.10, 0.10)), MARK_COLOURS["blue"], ROOF)


def _paint_wheels(brush: Brush, value: str) -> None:
    rim = {
        "dark": (70, 70, 76),
        "silver": (206, 208, 212),
        "ringed": WHITE,
        "yellow": MARK_COLOURS["yellow"],
    }[value]
    for centre in WHEEL_CENTRES:
        brush.paint(ellipse(centre, (0.21, 0.21)), BLACK, WHEELS)
        if value == "ringed":
            brush.paint(ellipse(centre, (0.17, 0.17)), rim, WHEELS)
            brush.paint(ellipse(centre, (0.11, 0.11)), BLACK, WHEELS)
        else:
            brush.paint(ellipse(centre, (0.13, 0.13)), rim, WHEELS)


def _paint_door(brush: Brush, colour: Colour, value: str) -> None:
    centre = (0.13, 0.13)
    brush.paint(_square(centre, (0.20, 0.16)), colour, DOOR)
    name, _, form = value.partition(" ")
    outlines: dict[str, list[Point]] = {
        "disc": ellipse(centre, (0.15, 0.15)),
        "square": _square(centre, (0.14, 0.13)),
        "diamond": [(0.13, -0.05), (0.31, 0.13), (0.13, 0.31), (-0.05, 0.13)],
        "bar": _square(centre, (0.21, 0.06)),
        "triangle": [(-0.05, 0.27), (0.13, -0.04), (0.31, 0.27)],
    }
    if form:
        brush.paint(outlines[form], MARK_COLOURS[name], DOOR)


def _paint_window(brush: Brush, body: Body, value: str) -> None:
    brush.paint(_square(body.decal, (0.13, 0.11)), GLASS, WINDOW)
    if value != "none":
        brush.paint(ellipse(body.decal, (0.11, 0.11)), MARK_COLOURS[value], WINDOW)


def _paint_plate(brush: Brush, value: str) -> None:
    """Paint two blocks of colour at the rear, where a view from the side shows a plate's edge."""
    first, second = value.split(" ")
    for x, name in ((-0.91, first), (-0.80, second)):
        brush.paint(_square((x, 0.22), (0.065, 0.075)), MARK_COLOURS[name], PLATE)


def _paint_fenders(brush: Brush, colour: Colour, value: str) -> None:
    places = {"rear": (-0.42, 0.10), "front": (0.66, 0.10)}
    for name, centre in places.items():
        brush.paint(_square(centre, (0.15, 0.13)), colour, FENDERS)
        if value in (name, "both"):
            x, y = centre
            for shift in (-0.07, 0.05):
                scratch = ribbon(
                    (x - 0.13, y + shift + 0.06), (x + 0.13, y + shift - 0.04),
                    half_widths=(0.03, 0.035),
                )  # fmt: skip
                brush.paint(scratch, BLACK, FENDERS)
