"""From a picture file of any common kind to upright 8-bit RGB (ours).

Orientation as EXIF tells; transparency over white; 16-bit grey by its high byte; palette, grey and
CMYK by Pillow's own conversion; of an animation the first frame.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from dcal.sentences import to_one_line

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")

# What a file with such a suffix may really hold. Pillow would also start Ghostscript on an EPS.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000")

# Seen through transparency; product pictures are cut out for a white page.
BACKGROUND = (255, 255, 255)

_ORIENTATION_TAG = 0x0112  # of EXIF
_ON_THEIR_SIDE = (5, 6, 7, 8)  # its values that exchange height and width


def is_picture(path: Path) -> bool:
    """Tell by the name and kind of a file whether `load_image` should read it.

    A link counts as what it leads to, one that leads nowhere as a picture: so it is named later.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES or path.name.startswith("."):
        return False
    # To open a pipe would wait for ever.
    return path.is_file() or not path.exists()


def load_image(
    path: str | Path | IO[bytes], *, at_least: tuple[int, int] | None = None, cut_bottom: int = 0
) -> Image.Image:
    """Decode a whole picture as upright RGB, without the last `cut_bottom` rows of pixels.

    `path` may be a stream of the file's bytes.

    With `at_least`, (height, width) of the upright picture, a JPEG is decoded at the smallest of
    1/2, 1/4 and 1/8 of its size that keeps both sides as long as that, which is quicker. Where none
    does, and of other kinds, the picture is decoded as without.

    Warnings of Pillow are kept back: they are about metadata, or about pictures between its two
    limits on size, of which the upper one holds here (179 million pixels).

    Raises:
        FileNotFoundError: No such file.
        OSError: Damaged, cut short, far too large, no picture, or 32 bits a channel.
    """
    with _opened(path) as image:
        # Rows to be cut away are counted at full size, so such a picture is decoded at it.
        if at_least is not None and not cut_bottom and isinstance(image, JpegImageFile):
            _reduce(image, at_least)
        return _cut(_to_rgb(ImageOps.exif_transpose(image)), cut_bottom)


def read_size(path: str | Path, *, cut_bottom: int = 0) -> tuple[int, int]:
    """Return (height, width) of what `load_image` would give, from the file's header alone.

    What is damaged behind the header is not noticed.

    Raises:
        FileNotFoundError: No such file.
        OSError: Far too large, no picture, or no rows left.
    """
    with _opened(path) as image:
        width, height = image.size
        # Of a PNG without EXIF before its pixels, Pillow would decode them to look behind.
        is_told = not isinstance(image, PngImageFile) or "exif" in image.info
        if is_told and image.getexif().get(_ORIENTATION_TAG) in _ON_THEIR_SIDE:
            height, width = width, height
        _require_rows(height, cut_bottom)
        return height - cut_bottom, width


@contextmanager
def _opened(path: str | Path | IO[bytes]) -> Iterator[Image.Image]:
    name = path if isinstance(path, str | Path) else "picture"
    try:
        with _QUIET.hold(), Image.open(path, formats=_FORMATS) as image:
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such file") from None
    # Pillow's decoders let out whatever a damaged file causes, TypeError and KeyError included.
    except Exception as error:
        raise OSError(f"{name}: cannot be decoded ({_describe(error)})") from error


class _Quiet:
    """Ignores Pillow's warnings while any thread holds it.

    Filters are one list for all threads, so the first one in changes them and the last one out
    puts them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_holders = 0
        self._filters = warnings.catch_warnings()

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._lock:
            if self._num_holders == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self._num_holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_holders -= 1
                if self._num_holders == 0:
                    self._filters.__exit__(None, None, None)


_QUIET = _Quiet()


def _describe(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        assert Image.MAX_IMAGE_PIXELS is not None
        return f"more than {2 * Image.MAX_IMAGE_PIXELS} pixels; make the picture smaller"
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture of a known kind, whatever its name says"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return to_one_line(str(error)) or type(error).__name__


def _reduce(image: JpegImageFile, at_least: tuple[int, int]) -> None:
    height, width = at_least
    if image.getexif().get(_ORIENTATION_TAG) in _ON_THEIR_SIDE:
        height, width = width, height
    image.draft(None, (width, height))


def _cut(image: Image.Image, num_rows: int) -> Image.Image:
    if not num_rows:
        return image
    _require_rows(image.height, num_rows)
    return image.crop((0, 0, image.width, image.height - num_rows))


def _require_rows(height: int, num_rows: int) -> None:
    if num_rows >= height:
        raise ValueError(f"{num_rows} rows are to be cut away, and it has {height}")


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
