"""What a grid of arms and seeds says: means, intervals, and differences paired by seed (ours)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dcal.analysis.intervals import COMPARED, adjust_by_holm, compare_paired, summarise

KEYS = ["arm", "branch", "metric"]
_SUMMARY = ["num_seeds", "mean", "std", "low_95", "high_95"]


def summarise_scores(scores: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Return a row an arm, branch and metric, in order of first appearance.

    Intervals are Student's over seeds. `difference` is the mean over common seeds of the row's
    value less that of the baseline's main branch (`both`, else `sa`), `p_value` that of the paired
    t test (see `compare_paired`), and `p_holm` is Holm's over all rows of the same metric.

    Args:
        scores: A row a value, with columns arm, seed, branch, metric and value.
        baseline: The arm that others are compared with.

    Raises:
        ValueError: A value is no number, or stands there twice.
    """
    _check(scores)
    main = find_main_branch(scores, baseline)
    is_main = (scores["arm"] == baseline) & (scores["branch"] == main)
    of_main = scores[is_main].groupby("metric")
    references = {str(metric): _by_seed(group) for metric, group in of_main}
    rows = []
    for key, group in scores.groupby(KEYS, sort=False):
        arm, branch, metric = (str(part) for part in key)
        values = _by_seed(group)
        has_reference = metric in references and (arm, branch) != (baseline, main)
        reference = references[metric] if has_reference else values.iloc[:0]
        row = {"arm": arm, "branch": branch, "metric": metric, **summarise(values.tolist())}
        rows.append(row | compare_paired(values, reference))
    table = pd.DataFrame(rows, columns=[*KEYS, *_SUMMARY, *COMPARED, "p_holm"])
    for _, group in table.groupby("metric"):
        table.loc[group.index, "p_holm"] = adjust_by_holm(group["p_value"].tolist())
    return table


def find_main_branch(scores: pd.DataFrame, arm: str) -> str:
    """Return the branch that stands for an arm: `both` where it has one, else `sa`."""
    return "both" if ((scores["arm"] == arm) & (scores["branch"] == "both")).any() else "sa"


def _by_seed(group: pd.DataFrame) -> pd.Series[float]:
    return group.set_index("seed")["value"].astype(float).sort_index()


def _check(scores: pd.DataFrame) -> None:
    values = pd.to_numeric(scores["value"], errors="coerce")
    broken = scores[~np.isfinite(values.to_numpy(dtype=float))]
    if len(broken):
        row = broken.iloc[0]
        raise ValueError(f"{_name(row)} is {row['value']}, which is no number")
    twice = scores[scores.duplicated([*KEYS, "seed"])]
    if len(twice):
        raise ValueError(f"{_name(twice.iloc[0])} stands there twice")


def _name(row: pd.Series[Any]) -> str:
    return f"scores of arm {row['arm']}, seed {row['seed']}: {row['branch']}/{row['metric']}"
