"""Small copies of pictures, as part of a page (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dcal.data.images import load_image
from dcal.visual.attention_maps import enlarge
from dcal.visual.figures import image_to_uri

THUMBNAIL_SIDE = 160  # pixels


class Thumbnail(NamedTuple):
    """A picture that fits into a square of 160 pixels, in its own shape."""

    uri: str
    width: int
    height: int


def make_thumbnail(path: Path, *, cut_bottom: int = 0) -> Thumbnail:
    """Load a picture, and make it small, or a tiny one large.

    Args:
        path: The picture.
        cut_bottom: Rows of pixels to leave out at its lower edge.

    Raises:
        FileNotFoundError, OSError: It is gone or damaged.
    """
    image = load_image(path, cut_bottom=cut_bottom)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    pixels = enlarge(np.asarray(image), longer_side=THUMBNAIL_SIDE)
    height, width = pixels.shape[:2]
    return Thumbnail(image_to_uri(pixels, quality=78), width, height)
