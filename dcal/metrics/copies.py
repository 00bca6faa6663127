"""Rows of a matrix that are equal, so that equal pictures can be made to tie exactly (ours).

A matrix product may round two equal columns differently, by where they stand in it. Whether equal
pictures tie would then hang on the sizes of the blocks.

N = rows, D = width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CACHED_BYTES = 3 << 20
_SEED = 0xC0B1E5


def find_copies(features: Tensor) -> tuple[Tensor, Tensor]:
    """Find rows that equal an earlier row, in float32.

    Args:
        features: (N, D), finite.

    Returns:
        Their positions, ascending, and those of the first row that each equals, (C,) both; on the
        device of the features.
    """
    keys = _compute_keys(features).cpu().numpy()
    _, firsts, places = np.unique(keys, return_index=True, return_inverse=True)
    first_rows = firsts[places]  # of equal keys
    is_later = first_rows != np.arange(len(keys))
    copies = torch.from_numpy(np.flatnonzero(is_later)).to(features.device)
    originals = torch.from_numpy(first_rows[is_later]).to(features.device)
    is_equal = _compare_rows(features, copies, originals)
    return copies[is_equal], originals[is_equal]


def _compute_keys(features: Tensor) -> Tensor:
    """Return a number for each row, int64, that equal rows have in common: a hash of its bits."""
    generator = torch.Generator().manual_seed(_SEED)
    width = features.shape[1]
    factors = torch.randint(-(2**62), 2**62, (width,), generator=generator) | 1
    factors = factors.to(features.device)
    keys = torch.empty(len(features), dtype=torch.int64, device=features.device)
    rows = max(1, min(len(features), CACHED_BYTES // (8 * width)))
    buffer = torch.empty((rows, width), dtype=torch.int64, device=features.device)
    for chunk, part in zip(features.detach().split(rows), keys.split(rows), strict=True):
        # Adding 0 gives both zeros one pattern of bits.
        piece = buffer[: len(chunk)].copy_((chunk.float() + 0).view(torch.int32))
        torch.sum(piece.mul_(factors), dim=1, out=part)
    return keys


def _compare_rows(features: Tensor, rows: Tensor, others: Tensor) -> Tensor:
    size = max(1, CACHED_BYTES // (4 * features.shape[1]))
    parts = [
        (features[some].float() == features[other].float()).all(dim=1)
        for some, other in zip(rows.split(size), others.split(size), strict=True)
    ]
    return torch.cat(parts) if parts else torch.zeros_like(rows, dtype=torch.bool)
