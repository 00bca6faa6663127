"""Pillow's resize as matrix products, so that a graph can hold it (ours).

An antialiased resize is linear and separable: out = R_h image R_w^T, where a row of R holds the
filter at the place of an output pixel, stretched by how much smaller the output is. Pillow rounds
to whole levels after each of the two passes, across first; so does this. (Since Pillow 13 a height
that shrinks much more than the width comes first, which differs where a level was clipped.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FILTERS = {"bilinear": 1.0, "bicubic": 2.0}  # half widths in pixels
_SHARPNESS = -0.5  # Pillow's a of the cubic


def build_resize_matrix(size_in: int, size_out: int, *, interpolation: str) -> Tensor:
    """Return the weights (size_out, size_in) of input pixels in output pixels; rows sum to 1.

    Raises:
        ValueError: An interpolation that is none of `FILTERS`.
    """
    if interpolation not in FILTERS:
        raise ValueError(f"interpolation: expected {' or '.join(FILTERS)}; got {interpolation}")
    ratio = size_in / size_out
    stretch: Any = torch.sym_max(ratio, 1.0)  # a number of the graph while one is traced
    centres = (torch.arange(size_out, dtype=torch.float32) + 0.5) * ratio
    places = torch.arange(size_in, dtype=torch.float32) + 0.5
    offsets = (places[None, :] - centres[:, None]).abs() / stretch  # (out, in)
    # Pillow takes whole pixels around the centre: those whose own centre is in reach.
    weights = _evaluate(offsets, interpolation)
    return weights / weights.sum(dim=1, keepdim=True)


def resize_pixels(images: Tensor, size: tuple[int, int], *, interpolation: str) -> Tensor:
    """Resize 8-bit pictures as Pillow does: (B, 3, H, W) of 0 to 255 to (B, 3, *size), float32.

    The values are whole numbers; they differ from Pillow's by one level where its fixed-point
    arithmetic rounds the other way.
    """
    height, width = images.shape[-2:]
    down = build_resize_matrix(height, size[0], interpolation=interpolation)
    across = build_resize_matrix(width, size[1], interpolation=interpolation)
    pixels = images.to(torch.float32)
    pixels = _to_levels(pixels @ across.to(pixels.device).T)
    return _to_levels(down.to(pixels.device) @ pixels)


def _evaluate(offsets: Tensor, interpolation: str) -> Tensor:
    if interpolation == "bilinear":
        return (1 - offsets).clamp(min=0)
    a = _SHARPNESS
    near = ((a + 2) * offsets - (a + 3)) * offsets.square() + 1
    far = a * (((offsets - 5) * offsets + 8) * offsets - 4)
    return torch.where(offsets < 1, near, torch.where(offsets < 2, far, torch.zeros_like(far)))


def _to_levels(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)
