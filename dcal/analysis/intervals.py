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
# What scatters by less than this share of the values is one number, and rounding.
_ROUNDING = 1e-9
_DIGITS = 12  # behind the point, so that equal scores differ by 0 and not by 1e-17


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Return count, mean, standard deviation and 95 % interval (Student); nan where unknown.

    Equal values have no interval: scores are shares of few pictures, so a second seed with the
    same score is no rare chance, and an interval of no width would claim to know the mean.
    """
    std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    mean = float(np.mean(values)) if len(values) else math.nan
    half = math.nan
    if _has_scatter(values, values):
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * std / len(values) ** 0.5
    return {
        "num_seeds": len(values),
        "mean": mean,
        "std": std,
        "low_95": mean - half,
        "high_95": mean + half,
    }


def compare_paired(values: pd.Series[Any], reference: pd.Series[Any]) -> dict[str, float]:
    """Return the mean difference over common seeds, its 95 % interval and the paired t test's p.

    Equal differences have no interval, as in `summarise`; p is 1 where they are all 0, and nan
    where they are another number.

    Args:
        values: By seed, each once.
        reference: The same; it is what is taken away.
    """
    common = values.index.intersection(reference.index).sort_values()
    ours, theirs = (side.loc[common].to_numpy(dtype=float) for side in (values, reference))
    differences = np.round(ours - theirs, _DIGITS)
    found, count = summarise(differences.tolist()), len(differences)
    low, high, p_value = found["low_95"], found["high_95"], math.nan
    if _has_scatter(differences, [*ours, *theirs]):
        ratio = abs(found["mean"]) / (found["std"] / math.sqrt(count))
        p_value = float(2 * stats.t.sf(ratio, count - 1))
    else:
        low = high = math.nan
        p_value = 1.0 if count > 1 and not differences.any() else math.nan
    return dict(zip(COMPARED, (count, found["mean"], low, high, p_value), strict=True))


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values, in the same order; nan stays and is not counted."""
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for place, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(known) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _has_scatter(values: Sequence[float] | np.ndarray, scale: Sequence[float]) -> bool:
    return len(values) > 1 and float(np.ptp(values)) > _ROUNDING * float(np.abs(scale).max())
