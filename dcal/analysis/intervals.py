"""Means over seeds, differences paired by seed, and how far both can be trusted (ours)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
COMPARED = ["num_pairs", "difference", "difference_low_95", "difference_high_95", "p_value"]
# Differences that scatter by less than this share of the values are one number, and rounding.
_ROUNDING = 1e-9


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Return count, mean, standard deviation and 95 % interval (Student); nan where unknown."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    mean = float(np.mean(values)) if len(values) else math.nan
    half = compute_half_interval(std, len(values))
    return {
        "num_seeds": len(values),
        "mean": mean,
        "std": std,
        "low_95": mean - half,
        "high_95": mean + half,
    }


def compute_half_interval(std: float, count: int) -> float:
    """Return half the 95 % interval of a mean of `count` values; nan for fewer than two."""
    if count < 2:
        return math.nan
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * std / math.sqrt(count)


def compare_paired(values: pd.Series[Any], reference: pd.Series[Any]) -> dict[str, float]:
    """Return the mean difference over common seeds, its 95 % interval and the paired t test's p.

    Differences that are all 0 have p 1. Those that are all the same other number have neither
    interval nor p: scores are counts of few pictures, so equal differences are no rare chance, and
    nothing is left to judge their mean by.

    Args:
        values: By seed, each once.
        reference: The same; it is what is taken away.
    """
    common = values.index.intersection(reference.index).sort_values()
    ours, theirs = (side.loc[common].to_numpy(dtype=float) for side in (values, reference))
    differences = ours - theirs
    found = summarise(differences.tolist())
    low, high, count = found["low_95"], found["high_95"], len(differences)
    p_value = math.nan
    if count > 1 and np.ptp(differences) > _ROUNDING * np.abs([ours, theirs]).max():
        ratio = abs(found["mean"]) / (found["std"] / math.sqrt(count))
        p_value = float(2 * stats.t.sf(ratio, count - 1))
    elif count > 1 and not differences.any():
        p_value = 1.0
    else:
        low = high = math.nan
    return dict(zip(COMPARED, (count, found["mean"], low, high, p_value), strict=True))


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values, in the same order; nan stays and is not counted."""
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for place, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(known) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted
