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


def simulate_curves(
    *, slower: float = 1.0, gain: float = 0.0, noise: float = 0.0, seeds: int = 5, draw: int = 0
) -> pd.DataFrame:
    """Return curves.csv of dcal and no_pwca, whose held-out loss follows from that of training.

    Args:
        slower: PWCA takes so many times the epochs to the same loss of training.
        gain: What PWCA takes off the held-out loss at each loss of training.
        noise: Of each held-out loss, and by what share each loss of training varies.
        seeds: How many.
        draw: Of the noise.
    """
    generator = np.random.default_rng(draw)
    rows = []
    for arm in ("dcal", "no_pwca"):
        pace, less = (slower, gain) if arm == "dcal" else (1.0, 0.0)
        for seed in range(seeds):
            for epoch in range(12):
                training = 2.0 * np.exp(-(epoch + 1) / (3 * pace)) + 0.01 * seed
                training *= 1 + generator.normal(0, noise)
                held_out = 0.3 + 0.5 * training - less + generator.normal(0, noise)
                values = {
                    "train/sa/loss": training,
                    "train/sa/top1_accuracy": 1 - 0.5 * training,
                    "train/log_variance/sa": -0.1 * epoch,
                    "val/sa/loss": held_out,
                    "val/sa/top1_accuracy": 1 - held_out,
                }
                if arm == "dcal":
                    values |= {"train/pwca/loss": training, "train/log_variance/pwca": 0.0}
                rows += [(arm, seed, epoch, metric, value) for metric, value in values.items()]
    return pd.DataFrame(rows, columns=["arm", "seed", "epoch", "metric", "value"])
