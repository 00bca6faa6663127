"""What a grid of arms and seeds says: means, intervals, and differences paired by seed (ours)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
KEYS = ["arm", "branch", "metric"]


def summarise_scores(scores: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Return a row an arm, branch and metric, in order of first appearance.

    Intervals are Student's over seeds. `difference` is the mean over common seeds of the row's
    value less that of the baseline's main branch (`both`, else `sa`), `p_value` that of the paired
    t test, and `p_holm` is Holm's over all rows of the same metric.

    Args:
        scores: A row a value, with columns arm, seed, branch, metric and value.
        baseline: The arm that others are compared with.

    Raises:
        ValueError: A value is no number, or stands there twice.
    """
    _check(scores)
    rows = []
    for key, values in scores.groupby(KEYS, sort=False):
        arm, branch, metric = (str(part) for part in key)
        of = values.set_index("seed")["value"]
        row = {"arm": arm, "branch": branch, "metric": metric, **summarise(of.tolist())}
        reference = _find_reference(scores, baseline, metric)
        is_itself = (arm, branch) == (baseline, find_main_branch(scores, baseline))
        rows.append(row | _compare(of, of.iloc[:0] if is_itself else reference))
    table = pd.DataFrame(rows, columns=_list_columns())
    for _, group in table.groupby("metric"):
        table.loc[group.index, "p_holm"] = adjust_by_holm(group["p_value"].tolist())
    return table


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


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values, in the same order; nan stays and is not counted."""
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for place, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(known) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def find_main_branch(scores: pd.DataFrame, arm: str) -> str:
    """Return the branch that stands for an arm: `both` where it has one, else `sa`."""
    return "both" if ((scores["arm"] == arm) & (scores["branch"] == "both")).any() else "sa"


def _find_reference(scores: pd.DataFrame, baseline: str, metric: str) -> pd.Series[Any]:
    branch = find_main_branch(scores, baseline)
    is_reference = (scores["arm"] == baseline) & (scores["branch"] == branch)
    return scores[is_reference & (scores["metric"] == metric)].set_index("seed")["value"]


def _compare(values: pd.Series[Any], reference: pd.Series[Any]) -> dict[str, float]:
    differences = (values - reference.reindex(values.index)).dropna().to_numpy(dtype=float)
    found = summarise(differences.tolist())
    return {
        "num_pairs": len(differences),
        "difference": found["mean"],
        "difference_low_95": found["low_95"],
        "difference_high_95": found["high_95"],
        "p_value": _test(found["mean"], found["std"], len(differences)),
        "p_holm": math.nan,
    }


def _test(mean: float, std: float, count: int) -> float:
    if count < 2:
        return math.nan
    if std == 0:
        # Equal in every pair: no evidence of a difference, or of one without any noise.
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (std / math.sqrt(count)), count - 1))


def _check(scores: pd.DataFrame) -> None:
    broken = scores[~np.isfinite(scores["value"].to_numpy(dtype=float))]
    if len(broken):
        row = broken.iloc[0]
        raise ValueError(
            f"scores of arm {row['arm']}, seed {row['seed']}: {row['branch']}/{row['metric']} is "
            f"{row['value']}, which is no number"
        )
    twice = scores[scores.duplicated([*KEYS, "seed"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"scores of arm {row['arm']}, seed {row['seed']}: {row['branch']}/{row['metric']} "
            "stands there twice"
        )


def _list_columns() -> list[str]:
    first = [*KEYS, "num_seeds", "mean", "std", "low_95", "high_95", "num_pairs", "difference"]
    return [*first, "difference_low_95", "difference_high_95", "p_value", "p_holm"]
