"""From a picture file of any common kind to upright 8-bit RGB (ours).

Orientation as EXIF tells; transparency over white; 16-bit grey by its high byte; palette, grey and
CMYK by Pillow's own conversion; of an animation the first frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")

# Seen through transparency; product pictures are cut out for a white page.
BACKGROUND = (255, 255, 255)


def is_picture(path: Path) -> bool:
    """Tell by the file name whether `load_image` should read this file."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def load_image(path: str | Path) -> Image.Image:
    """Decode a whole picture as upright RGB.

    Raises:
        OSError: No such file, or Pillow cannot decode it (damaged, cut short, not a picture).
        ValueError: A kind of picture with no agreed range of brightness, or far too large.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except (SyntaxError, EOFError, IndexError) as error:
        # What some of Pillow's decoders raise on damaged files.
        raise OSError(f"{path}: damaged picture ({error})") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: too many pixels ({error})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(
            f"32 bits a pixel (Pillow mode {image.mode}); save it with 8 or 16 bits a channel"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, image).convert("RGB")
    return image.convert("RGB")
