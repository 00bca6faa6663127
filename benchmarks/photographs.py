"""JPEGs of set sizes for the benchmark of loading: noise with the spectrum of photographs (ours).

Amplitudes fall with the frequency, as those of natural scenes do, a little faster for a lens,
and colours vary less than brightness: a file takes 3.4 bits a pixel at 500 x 375, as a camera's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 90
_FALL = 1.3
_CONTRASTS = (50.0, 12.0, 12.0)  # of brightness and the two colours, in levels


def write_photograph(path: Path, *, size: tuple[int, int], seed: int) -> None:
    """Write a drawn photograph; `size` is (height, width)."""
    generator = np.random.default_rng(seed)
    planes = [128 + contrast * _draw_plane(size, generator) for contrast in _CONTRASTS]
    pixels = np.stack(planes, axis=-1).clip(0, 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("YCbCr", (size[1], size[0]), pixels.tobytes()).save(path, quality=QUALITY)


def write_enlarged(path: Path, original: Image.Image, *, size: tuple[int, int]) -> None:
    """Write a photograph enlarged to (height, width), as a stand-in for a phone's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    enlarged = original.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    enlarged.save(path, quality=QUALITY)


def _draw_plane(size: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float32]:
    """Return noise of mean 0 and deviation 1 whose amplitudes fall with the frequency."""
    height, width = size
    spectrum = np.fft.rfft2(generator.standard_normal(size, dtype=np.float32))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequencies = np.sqrt(rows**2 + columns**2)
    frequencies[0, 0] = np.inf  # no mean
    plane = np.fft.irfft2(spectrum / frequencies**_FALL, s=size)
    return (plane / plane.std()).astype(np.float32)
