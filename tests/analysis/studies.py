"""Simulated ablations: what is true of them is known (shared by tests)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def simulate_scores(
    effects: Mapping[str, float],
    *,
    seeds: Sequence[int],
    metrics: Sequence[str] = ("top1_accuracy",),
    shared: float = 0.02,
    own: float = 0.01,
    branch: str = "sa",
    generator_seed: int = 0,
) -> pd.DataFrame:
    """Return scores.csv: 0.5, the arm's effect, what a seed does to all arms, and what is left."""
    generator = np.random.default_rng(generator_seed)
    rows = []
    for metric in metrics:
        of_seeds = generator.normal(0, shared, len(seeds))
        for arm, effect in effects.items():
            noise = generator.normal(0, own, len(seeds))
            values = 0.5 + effect + of_seeds + noise
            rows += [
                (arm, seed, branch, metric, value)
                for seed, value in zip(seeds, values, strict=True)
            ]
    return pd.DataFrame(rows, columns=["arm", "seed", "branch", "metric", "value"])
