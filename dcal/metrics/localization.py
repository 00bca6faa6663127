"""Where the model looks: a rollout on the patch grid against part masks (ours, from two games).

The pointing game asks where the peak lies (Zhang et al. 2018), the energy share asks how much of
the whole map lies on the parts (Wang et al. 2020). Both have a chance level that depends on the
size of the parts, so each is given beside what a map without knowledge would get.

The grid is stretched over the whole picture. Where patches overlap, cell centres are thereby off
by at most half of (patch - stride) pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Part points are given an extent of this share of the object's size (its box, else the picture).
POINT_RADIUS_RATIO = 0.05


def upsample_rollout(
    rollout: Float[Tensor, "rows cols"], *, size: tuple[int, int]
) -> Float[Tensor, "height width"]:
    """Spread a map on the patch grid over a picture of `size` (height, width), bilinearly."""
    grid = rollout.double()[None, None]
    return torch.nn.functional.interpolate(grid, size=size, mode="bilinear")[0, 0]


def find_peak(rollout: Float[Tensor, "rows cols"], *, size: tuple[int, int]) -> tuple[int, int]:
    """Return the pixel (y, x) at which the bilinear surface over the picture is highest.

    A bilinear surface is nowhere above its highest grid value, so this is the centre of that
    patch; among equals the first in reading order. An arg-max over pixels would instead take the
    outermost pixel of the flat rim that interpolation leaves around the border patches.
    """
    row, col = divmod(int(rollout.flatten().argmax()), rollout.shape[1])
    ys, xs = _centre_pixels((rollout.shape[0], rollout.shape[1]), size)
    return int(ys[row]), int(xs[col])


def pointing_game_hit(
    rollout: Float[Tensor, "rows cols"], mask: Bool[Tensor, "height width"]
) -> bool:
    """Say whether the peak of the map lies on the mask; see `dilate_mask` for a tolerance."""
    y, x = find_peak(rollout, size=(mask.shape[0], mask.shape[1]))
    return bool(mask[y, x])


def pointing_game_chance(
    mask: Bool[Tensor, "height width"], *, grid_size: tuple[int, int]
) -> float:
    """Return the share of patches whose centre lies on the mask: a peak put at random."""
    ys, xs = _centre_pixels(grid_size, (mask.shape[0], mask.shape[1]))
    return float(mask.cpu().numpy()[np.ix_(ys, xs)].mean())


def dilate_mask(
    mask: Bool[Tensor, "height width"], *, tolerance: float
) -> Bool[Tensor, "height width"]:
    """Add all pixels within `tolerance` pixels of the mask, so that a near miss is a hit."""
    from scipy.ndimage import distance_transform_edt

    if not bool(mask.any()):
        return mask
    distances = distance_transform_edt(~mask.cpu().numpy())
    return torch.from_numpy(distances <= tolerance)


def energy_share(rollout: Float[Tensor, "rows cols"], mask: Bool[Tensor, "height width"]) -> float:
    """Return the share of the map's mass that lies on the mask.

    A uniform map gets the mask's share of the picture's area, `area_share`.

    Raises:
        ValueError: The map has a negative or non-finite value, or no mass at all.
    """
    surface = upsample_rollout(rollout, size=(mask.shape[0], mask.shape[1]))
    mass = float(surface.sum())
    if not (float(surface.min()) >= 0 and 0 < mass < float("inf")):
        raise ValueError(
            "expected a rollout with values of at least 0 and a positive sum; got a minimum of "
            f"{float(surface.min()):.4g} and a sum of {mass:.4g}"
        )
    return float(surface[mask].sum()) / mass


def area_share(mask: Bool[Tensor, "height width"]) -> float:
    """Return the mask's share of the picture."""
    return float(mask.double().mean())


def chosen_on_mask(
    local_indices: Int[Tensor, " chosen"],
    mask: Bool[Tensor, "height width"],
    *,
    grid_size: tuple[int, int],
) -> tuple[float, float]:
    """Compare chosen patches with the mask.

    Returns:
        The share of the chosen patches' area that lies on the mask (chance: `area_share`), and the
        share of the mask that the chosen patches cover (chance: the share of patches chosen).
        The second is 0 for an empty mask.
    """
    grid = torch.zeros(grid_size[0] * grid_size[1], dtype=torch.float64)
    grid[local_indices.cpu()] = 1
    size = (mask.shape[0], mask.shape[1])
    chosen = torch.nn.functional.interpolate(
        grid.view(1, 1, *grid_size), size=size, mode="nearest-exact"
    )[0, 0].bool()  # (height, width)
    num_common = int((chosen & mask).sum())
    return num_common / int(chosen.sum()), num_common / max(int(mask.sum()), 1)


def build_point_mask(
    points: Sequence[tuple[float, float]], *, size: tuple[int, int], radius: float
) -> Bool[Tensor, "height width"]:
    """Draw a disc of `radius` pixels around each point (x, y) of a picture of `size`.

    The pixel that holds a point inside the picture is always part of its disc.
    """
    ys = torch.arange(size[0], dtype=torch.float64)[:, None] + 0.5
    xs = torch.arange(size[1], dtype=torch.float64)[None, :] + 0.5
    mask = torch.zeros(size, dtype=torch.bool)
    for x, y in points:
        mask |= (ys - y).square() + (xs - x).square() <= radius**2
        if 0 <= x < size[1] and 0 <= y < size[0]:
            mask[int(y), int(x)] = True
    return mask


def _centre_pixels(
    grid_size: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = (
        (np.arange(count) + 0.5) * extent for count, extent in zip(grid_size, size, strict=True)
    )
    return (rows / grid_size[0]).astype(int), (cols / grid_size[1]).astype(int)
