"""From a picture file of any common kind to upright 8-bit RGB (ours).

Orientation as EXIF tells; transparency over white; 16-bit grey by its high byte; palette, grey and
CMYK by Pillow's own conversion; of an animation the first frame.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")

# What Pillow's decoders raise on damaged files besides OSError.
_DECODER_ERRORS = (
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)

# Seen through transparency; product pictures are cut out for a white page.
BACKGROUND = (255, 255, 255)


def is_picture(path: Path) -> bool:
    """Tell by the file name whether `load_image` should read this file."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def load_image(path: str | Path) -> Image.Image:
    """Decode a whole picture as upright RGB.

    Raises:
        FileNotFoundError: No such file.
        OSError: Damaged, cut short, far too large, no picture, or 32 bits a channel.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise
    except (OSError, *_DECODER_ERRORS) as error:
        raise OSError(f"{path}: cannot be decoded ({error})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32 bits a channel, Pillow mode {image.mode}; save it with 8 or 16")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, image).convert("RGB")
    return image.convert("RGB")
