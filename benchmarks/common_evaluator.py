"""How ranking is commonly evaluated: the whole matrix, a sort of each row, a loop over queries.

The baseline of `benchmarks.ranking`, written as the field's evaluators work. The older and most
used ones (torchreid, FastReID) also walk over each list in Python to divide hits by ranks; newer
ones (TransReID) do that in NumPy. Both are timed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_RANK = 50


def evaluate_commonly(
    query_features: Tensor,
    gallery_features: Tensor,
    query_identities: NDArray[np.int64],
    gallery_identities: NDArray[np.int64],
    query_cameras: NDArray[np.int64],
    gallery_cameras: NDArray[np.int64],
    *,
    is_vectorised: bool,
) -> tuple[NDArray[np.float64], float, float]:
    """Return the CMC curve, mean AP (rectangle) and mean INP."""
    queries = torch.nn.functional.normalize(query_features, dim=1)
    gallery = torch.nn.functional.normalize(gallery_features, dim=1)
    squares = queries.square().sum(dim=1)[:, None] + gallery.square().sum(dim=1)[None]
    distances = torch.addmm(squares, queries, gallery.T, alpha=-2).numpy()  # (Q, G)
    order = np.argsort(distances, axis=1)
    is_match = (gallery_identities[order] == query_identities[:, None]).astype(np.int32)
    curves, precisions, penalties = [], [], []
    for query in range(len(query_features)):
        same_identity = gallery_identities[order[query]] == query_identities[query]
        same_camera = gallery_cameras[order[query]] == query_cameras[query]
        relevance = is_match[query][~(same_identity & same_camera)]
        if not relevance.any():
            continue
        hits = relevance.cumsum()
        curves.append(np.minimum(hits, 1)[:MAX_RANK])
        if is_vectorised:
            shares = hits / np.arange(1, len(hits) + 1)
        else:
            shares = np.asarray([hit / (place + 1.0) for place, hit in enumerate(hits)])
        precisions.append((shares * relevance).sum() / hits[-1])
        penalties.append(hits[-1] / (np.flatnonzero(relevance)[-1] + 1))
    return np.mean(curves, axis=0), float(np.mean(precisions)), float(np.mean(penalties))
