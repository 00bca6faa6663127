"""Training against held-out pictures, epoch by epoch, and two arms compared in it (ours).

Losses of training are means over an epoch in which the weights moved, on pictures as they are
augmented, so a gap of its own says little; what is compared is the same gap of two arms.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dcal.analysis.intervals import COMPARED, compare_paired

LOSS, ACCURACY = "loss", "top1_accuracy"


class Pair(NamedTuple):
    """Two arms that differ by PWCA alone."""

    with_pwca: str
    without: str

    @property
    def name(self) -> str:
        """Return what is taken from what."""
        return f"{self.with_pwca} less {self.without}"


def compute_gaps(curves: pd.DataFrame, metric: str = LOSS) -> pd.DataFrame:
    """Return a row an arm, seed and epoch: arm, seed, epoch, training, held_out and gap.

    The gap is how much worse held-out pictures do: their loss less that of training, but the
    accuracy of training less theirs. All are of the SA branch, which every arm has.

    Args:
        curves: As pipelines/ablate writes them.
        metric: `loss` or `top1_accuracy`.
    """
    names = {f"train/sa/{metric}": "training", f"val/sa/{metric}": "held_out"}
    chosen = curves[curves["metric"].isin(names)]
    wide = chosen.pivot(index=["arm", "seed", "epoch"], columns="metric", values="value")
    wide = wide.rename(columns=names).reindex(columns=list(names.values()))
    wide = wide.dropna().rename_axis(columns=None)
    sign = 1 if metric == LOSS else -1
    return wide.assign(gap=sign * (wide["held_out"] - wide["training"])).reset_index()


def compare_at_end(gaps: pd.DataFrame, pair: Pair, column: str) -> dict[str, float]:
    """Compare a column of `compute_gaps` at each arm's last epoch, with PWCA less without."""
    last = gaps.sort_values("epoch").groupby(["arm", "seed"])[column].last()
    return compare_arms(last, pair)


def compare_over_epochs(gaps: pd.DataFrame, pair: Pair, column: str) -> pd.DataFrame:
    """Return what `compare_at_end` does for each epoch that both arms have: a row an epoch."""
    rows = []
    for epoch, of_epoch in gaps.groupby("epoch"):
        found = compare_at_end(of_epoch, pair, column)
        if found["num_pairs"]:
            rows.append({"epoch": epoch, **found})
    return pd.DataFrame(rows, columns=["epoch", *COMPARED], dtype=float)


def compare_at_equal_training_loss(gaps: pd.DataFrame, pair: Pair) -> dict[str, float]:
    """Compare held-out losses where both arms have the same loss of training, seed by seed.

    That loss is the lowest one that both reach; between epochs lines are drawn through the losses
    as far as each is the lowest so far. A seed of which one arm was below it from its first epoch
    on is left out.
    """
    found: dict[str, dict[int, float]] = {pair.with_pwca: {}, pair.without: {}}
    for seed in gaps["seed"].unique():
        paths = {arm: _trace(gaps, arm, seed) for arm in found}
        if any(path.empty for path in paths.values()):
            continue
        level = max(path["training"].min() for path in paths.values())
        if all(path["training"].max() >= level for path in paths.values()):
            for arm, path in paths.items():
                found[arm][int(seed)] = _read_at(path, level)
    return compare_paired(*(pd.Series(found[arm], dtype=float) for arm in found))


def count_epochs_to(curves: pd.DataFrame, metric: str, share: float) -> pd.Series[float]:
    """Return by arm and seed the epochs, from 1, until a share of its own best is reached.

    Args:
        curves: As pipelines/ablate writes them.
        metric: A score, larger is better, such as `val/sa/top1_accuracy`.
        share: Of the best value of that training.
    """
    counted = {}
    for key, values in curves[curves["metric"] == metric].groupby(["arm", "seed"]):
        ordered = values.sort_values("epoch")
        reached = ordered["value"] >= share * ordered["value"].max()
        counted[key] = float(ordered["epoch"][reached].iloc[0]) + 1
    index = pd.MultiIndex.from_tuples(list(counted), names=["arm", "seed"])
    return pd.Series(list(counted.values()), index=index, dtype=float)


def compare_arms(values: pd.Series[Any], pair: Pair) -> dict[str, float]:
    """Compare values by arm and seed, with PWCA less without; see `compare_paired`."""
    known = set(values.index.get_level_values("arm"))
    empty = pd.Series(dtype=float)
    with_pwca, without = (values[arm] if arm in known else empty for arm in pair)
    return compare_paired(with_pwca, without)


def _trace(gaps: pd.DataFrame, arm: str, seed: int) -> pd.DataFrame:
    path = gaps[(gaps["arm"] == arm) & (gaps["seed"] == seed)].sort_values("epoch")
    before = path["training"].cummin().shift(fill_value=math.inf)
    return path[path["training"] < before]


def _read_at(path: pd.DataFrame, level: float) -> float:
    # np.interp wants rising places, and the loss of training falls.
    return float(np.interp(-level, -path["training"].to_numpy(), path["held_out"].to_numpy()))
