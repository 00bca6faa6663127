"""Pictures in whatever form a caller has them: paths, files' bytes, or arrays (ours).

Over HTTP only bytes are taken, as base64: a path would be one of the server's own files. A data
URL says that it is base64, and is therefore taken in process as well.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcal.data.transforms import Transform

Picture = Any  # str or Path, bytes, or an 8-bit RGB array (H, W, 3)
DATA_URL = "data:image/png;base64,"
_DATA_URL = re.compile(r"data:[\w/+.-]*;base64,")


def decode_pictures(
    pictures: list[Picture], transform: Transform, *, is_served: bool, first_position: int = 0
) -> Iterator[Any]:
    """Yield each picture as a model input (3, H, W).

    Raises:
        ValueError: One that cannot be read, by its position; where served, text that is no base64.
    """
    for position, picture in enumerate(pictures, first_position):
        try:
            yield transform(_open(picture, transform, is_served=is_served))
        except (OSError, ValueError) as error:
            reason = str(error).removeprefix("picture: ")
            raise ValueError(f"picture {position}: {reason}") from None


def _open(picture: Picture, transform: Transform, *, is_served: bool) -> Image.Image:
    if isinstance(picture, str | Path):
        head = _DATA_URL.match(str(picture))
        if not (is_served or head):
            return transform.load(picture)
        picture = _decode_base64(str(picture)[head.end() if head else 0 :])
    if isinstance(picture, bytes | bytearray | memoryview):
        return transform.load(io.BytesIO(bytes(picture)))
    return _from_array(np.asarray(picture))


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            "expected the bytes of a picture file as base64; got other text (a path is not read: "
            "it would be a file of this server)"
        ) from None


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(
            "expected an 8-bit RGB array (height, width, 3), a path or bytes; got "
            f"{pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels)
