"""Which patches become local queries (DCAL, GLCA). Legend: B images, N patches, R kept."""

from __future__ import annotations

from decimal import Decimal

import torch
from jaxtyping import Float, Int
from torch import Tensor


def count_local_queries(top_r: float, num_patches: int) -> int:
    """Return R = floor(top_r * num_patches), at least 1.

    In decimal arithmetic, because 0.3 * 10 must not become 2.

    Raises:
        ValueError: `top_r` is outside (0, 1].
    """
    if not 0 < top_r <= 1:
        raise ValueError(f"top_r: expected a share above 0 and at most 1; got {top_r}")
    return max(1, int(Decimal(str(top_r)) * num_patches))


@torch.no_grad()
def select_patches(
    scores: Float[Tensor, "batch patches"], num_local_queries: int
) -> Int[Tensor, "batch local"]:
    """Return the positions of the highest scores, highest first; equal scores by position."""
    order = scores.sort(dim=1, descending=True, stable=True).indices
    return order[:, :num_local_queries]


def draw_patches(
    num_images: int, num_patches: int, num_local_queries: int, *, device: torch.device | str = "cpu"
) -> Int[Tensor, "batch local"]:
    """Return other patches for each image, by torch's generator (ours: the random ablation)."""
    draws = torch.rand(num_images, num_patches, device=device)
    return select_patches(draws, num_local_queries)


def gather_rows(
    tokens: Float[Tensor, "batch tokens width"], indices: Int[Tensor, "batch rows"]
) -> Float[Tensor, "batch rows width"]:
    """Take each image's own rows."""
    return tokens.gather(1, indices[:, :, None].expand(-1, -1, tokens.shape[2]))
