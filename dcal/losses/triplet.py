"""Batch-hard triplet loss (Hermans et al. 2017), as TransReID applies it for Re-ID.

Legend: B images, D width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def compute_batch_hard_triplet(
    features: Float[Tensor, "batch width"],
    identities: Int[Tensor, "batch"],
    *,
    margin: float | None = None,
) -> Float[Tensor, ""]:
    """Compare each image's farthest positive with its nearest negative, by Euclidean distance.

    Images without a positive or without a negative are left out; if all are, the result is a
    zero with a gradient of zeros. Computed in float32 at least.

    Args:
        features: (B, D), before the BN neck, not normalised.
        identities: (B,).
        margin: max(0, positive - negative + margin); None = the soft margin
            log(1 + exp(positive - negative)).
    """
    with torch.autocast(features.device.type, enabled=False):
        dtype = torch.promote_types(features.dtype, torch.float32)
        distances = _compute_distances(features.to(dtype))
        is_same = identities[:, None] == identities[None, :]
        itself = torch.eye(len(identities), dtype=torch.bool, device=identities.device)
        is_positive = is_same & ~itself
        hardest_positive = distances.masked_fill(~is_positive, -torch.inf).amax(dim=1)
        hardest_negative = distances.masked_fill(is_same, torch.inf).amin(dim=1)
        is_valid = is_positive.any(dim=1) & (~is_same).any(dim=1)
        gap = torch.where(is_valid, hardest_positive - hardest_negative, 0.0)
        per_image = F.softplus(gap) if margin is None else (gap + margin).clamp(min=0)
        # Divided by a tensor, not by a Python number: no wait for the device.
        return (per_image * is_valid).sum() / is_valid.sum().clamp(min=1)


def _compute_distances(features: Tensor) -> Tensor:
    squared_norms = features.square().sum(dim=1)
    squared = squared_norms[:, None] + squared_norms[None, :] - 2 * features @ features.T
    # The root has no gradient at 0, where an image meets itself.
    return squared.clamp(min=1e-12).sqrt()
