"""k-reciprocal re-ranking with whole float64 matrices and sets, step by step as it is described."""

from __future__ import annotations

import numpy as np


def rerank_slowly(query_features, gallery_features, *, k1, k2, distance_weight):
    """Return the (Q, G) block of re-ranked distances."""
    features = np.concatenate([query_features, gallery_features]).astype(np.float64)
    count = len(features)
    squared = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    scaled = squared / squared.max(axis=1, keepdims=True)
    order = np.argsort(squared, axis=1, kind="stable")

    def find_reciprocal(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    vectors = np.zeros((count, count))
    for i in range(count):
        own = find_reciprocal(i, k1)
        widened = set(own)
        for j in own:
            of_j = find_reciprocal(j, round(k1 / 2))
            if len(of_j & own) > 2 / 3 * len(of_j):
                widened |= of_j
        members = sorted(widened)
        weights = np.exp(-scaled[i, members])
        vectors[i, members] = weights / weights.sum()
    vectors = np.stack([vectors[order[i, :k2]].mean(axis=0) for i in range(count)])
    num_queries = len(query_features)
    shared = np.minimum(vectors[:num_queries, None], vectors[None, num_queries:]).sum(axis=2)
    jaccard = 1 - shared / (2 - shared)
    return (1 - distance_weight) * jaccard + distance_weight * scaled[:num_queries, num_queries:]
