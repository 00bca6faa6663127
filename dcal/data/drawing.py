"""A canvas of numbered shapes that becomes a picture and a part mask at once (ours).

Shapes are painted as numbers on an enlarged one-channel canvas; colours and part ids are looked
up afterwards, so that a picture and its mask cost one drawing and can never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]  # red, green, blue, each 0 to 255
Point = tuple[float, float]  # x to the right, y down

ENLARGEMENT = 3  # canvas pixels a picture pixel; the canvas is averaged down
_MAX_SHAPES = 255  # a canvas pixel is one byte, and 0 is the background
_NUM_UNIFORMS = 512
_IS_PAINTED = [0, *[255] * _MAX_SHAPES]
_CIRCLE = tuple(
    (math.cos(math.tau * step / 24), math.sin(math.tau * step / 24)) for step in range(24)
)


class Dice:
    """Random numbers of one picture: a function of the seed sequence alone."""

    def __init__(self, sequence: np.random.SeedSequence) -> None:
        self.generator = np.random.Generator(np.random.PCG64(sequence))
        # One bulk draw: single draws from a numpy generator would cost as much as the drawing.
        self._uniforms = iter(self.generator.random(_NUM_UNIFORMS).tolist())

    def uniform(self, low: float, high: float) -> float:
        """Return a number between the two."""
        return low + (high - low) * float(next(self._uniforms))

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + int((high - low + 1) * next(self._uniforms))

    def chance(self, ratio: float) -> bool:
        """Return true in this share of the cases."""
        return bool(next(self._uniforms) < ratio)

    def jitter(self, colour: Colour, *, spread: float) -> Colour:
        """Return the colour with every channel moved by at most `spread`."""
        red, green, blue = (
            min(255.0, max(0.0, channel + self.uniform(-spread, spread))) for channel in colour
        )
        return red, green, blue


class Frame:
    """Turns points of a figure's own coordinates into canvas coordinates."""

    def __init__(
        self, origin: Point, *, scale: float, angle: float = 0.0, is_flipped: bool = False
    ) -> None:
        cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
        sign = -1.0 if is_flipped else 1.0
        self._matrix = (cosine * sign, -sine * sign, sine, cosine)
        self._origin = origin

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Map figure points to canvas points."""
        xx, xy, yx, yy = self._matrix
        left, top = self._origin
        return [(left + xx * x + xy * y, top + yx * x + yy * y) for x, y in points]


class Canvas:
    """Numbered shapes, painted one over the other.

    Args:
        image_size: (height, width) of the picture to come, in pixels.
    """

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.height, self.width = (ENLARGEMENT * length for length in image_size)
        self._image = Image.new("P", (self.width, self.height), 0)
        self._draw = ImageDraw.Draw(self._image)
        self._colours: list[Colour] = [(0.0, 0.0, 0.0)]
        self._parts = [0]

    def paint(self, points: Sequence[Point], *, colour: Colour, part: int = 0) -> None:
        """Paint a polygon of canvas points; `part` is its id in the mask, 0 for none."""
        assert len(self._parts) <= _MAX_SHAPES, "a canvas holds 255 shapes"
        self._draw.polygon(points, fill=len(self._parts))
        self._colours.append(colour)
        self._parts.append(part)

    def render(self, backdrop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture (height, width, 3); the small backdrop fills what is unpainted."""
        pixels = self._image.copy()
        pixels.putpalette([round(channel) for colour in self._colours for channel in colour])
        size = (self.width, self.height)
        picture = Image.fromarray(backdrop).resize(size, Image.Resampling.BILINEAR)
        picture.paste(pixels.convert("RGB"), mask=self._image.point(_IS_PAINTED, "L"))
        return np.asarray(picture.reduce(ENLARGEMENT))

    def render_mask(self) -> NDArray[np.uint8]:
        """Return the part ids (height, width) of what stayed visible."""
        middle = ENLARGEMENT // 2
        numbers = np.asarray(self._image)[middle::ENLARGEMENT, middle::ENLARGEMENT]
        return np.asarray(self._parts, dtype=np.uint8)[numbers]


def ellipse(centre: Point, radii: Point, *, angle: float = 0.0) -> list[Point]:
    """Return the outline of an ellipse as 24 points."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return [
        (
            centre[0] + radii[0] * x * cosine - radii[1] * y * sine,
            centre[1] + radii[0] * x * sine + radii[1] * y * cosine,
        )
        for x, y in _CIRCLE
    ]


def arc(centre: Point, radius: float, *, start: float, stop: float) -> list[Point]:
    """Return 13 points of a circle from one angle to another, in radians, clockwise as seen."""
    angles = [start + (stop - start) * step / 12 for step in range(13)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def ribbon(start: Point, end: Point, *, half_widths: Point) -> list[Point]:
    """Return a strip from one point to another, as wide at either end as asked."""
    across_x, across_y = end[1] - start[1], start[0] - end[0]
    length = math.hypot(across_x, across_y) or 1.0
    across_x, across_y = across_x / length, across_y / length
    first, last = half_widths
    return [
        (start[0] + across_x * first, start[1] + across_y * first),
        (end[0] + across_x * last, end[1] + across_y * last),
        (end[0] - across_x * last, end[1] - across_y * last),
        (start[0] - across_x * first, start[1] - across_y * first),
    ]


def mix(first: Colour, second: Colour, *, ratio: float) -> Colour:
    """Return `ratio` of the second colour over the first."""
    red, green, blue = (a + ratio * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue
