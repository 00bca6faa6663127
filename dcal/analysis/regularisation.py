"""Does PWCA regularise: gaps between training and held-out pictures, with and without it (ours).

A regulariser fits the training pictures less and loses less on others. Losses of training are means
over an epoch in which the weights moved, on pictures as they are augmented, so a gap of its own
says little; what is compared is the same gap of two arms.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dcal.analysis.ablation_results import Ablation, list_grids, read_ablation
from dcal.analysis.intervals import compare_paired

TRAIN, HELD_OUT = "train/sa/loss", "val/sa/loss"


class Pair(NamedTuple):
    """Two arms that differ by PWCA alone."""

    with_pwca: str
    without: str
    name: str  # of what both have


class PwcaGrid(NamedTuple):
    """A grid that says something of PWCA."""

    name: str
    ablation: Ablation
    pairs: list[Pair]
    gaps: pd.DataFrame  # of `compute_gaps`

    @property
    def arms(self) -> list[str]:
        """Return the arms of all pairs, each once."""
        return list(dict.fromkeys(arm for pair in self.pairs for arm in pair[:2]))

    def select(self, column: str) -> pd.DataFrame:
        """Return a column of the gaps as rows of arm, seed, epoch and value."""
        return self.gaps[["arm", "seed", "epoch"]].assign(value=self.gaps[column])


def read_pwca_grids(root: str | Path) -> list[PwcaGrid]:
    """Return the grids of results/ablate that have a pair and a held-out loss.

    Raises:
        AblationError: One of them cannot be read.
    """
    found = []
    for folder in list_grids(root):
        ablation = read_ablation(folder)
        pairs = find_pairs(ablation.head["arms"], ablation.head["pwca_blocks"])
        gaps = compute_gaps(ablation.curves)
        if pairs and not gaps.empty:
            found.append(PwcaGrid(folder.name, ablation, pairs, gaps))
    return found


def find_pairs(arms: dict[str, dict[str, Any]], baseline_blocks: int) -> list[Pair]:
    """Return the pairs of arms that differ in nothing but `model.pwca_blocks`.

    Args:
        arms: Overrides by arm, as in grid.json; the baseline has none.
        baseline_blocks: `model.pwca_blocks` of the baseline.
    """
    key = "model.pwca_blocks"
    rest = {name: {k: v for k, v in of.items() if k != key} for name, of in arms.items()}
    blocks = {name: of.get(key, baseline_blocks) for name, of in arms.items()}
    return [
        Pair(one, other, _name(rest[one]))
        for one in arms
        for other in arms
        if rest[one] == rest[other] and blocks[one] > 0 and blocks[other] == 0
    ]


def compute_gaps(curves: pd.DataFrame) -> pd.DataFrame:
    """Return a row an arm, seed and epoch: loss of training, held-out loss, and their difference.

    Both are those of the SA branch, which every arm has.
    """
    chosen = curves[curves["metric"].isin([TRAIN, HELD_OUT])]
    wide = chosen.pivot(index=["arm", "seed", "epoch"], columns="metric", values="value")
    wide = wide.reindex(columns=[TRAIN, HELD_OUT]).dropna().rename_axis(columns=None)
    return wide.assign(gap=wide[HELD_OUT] - wide[TRAIN]).reset_index()


def compare_at_end(gaps: pd.DataFrame, pair: Pair, column: str) -> dict[str, float]:
    """Compare a column of `compute_gaps` at each arm's last epoch, with PWCA less without."""
    last = gaps.sort_values("epoch").groupby(["arm", "seed"])[column].last()
    return _compare(last, pair)


def compare_at_equal_training_loss(gaps: pd.DataFrame, pair: Pair) -> dict[str, float]:
    """Compare held-out losses where both arms have the same loss of training, seed by seed.

    That loss is the lowest one that both reach; between epochs lines are drawn through the losses
    as far as each is the lowest so far.
    """
    found: dict[str, dict[int, float]] = {pair.with_pwca: {}, pair.without: {}}
    for seed in gaps["seed"].unique():
        paths = {arm: _trace(gaps, arm, seed) for arm in found}
        if any(len(path) < 2 for path in paths.values()):
            continue
        level = max(path[TRAIN].min() for path in paths.values())
        for arm, path in paths.items():
            found[arm][int(seed)] = _read_at(path, level)
    return compare_paired(*(pd.Series(found[arm], dtype=float) for arm in found))


def compare_pairs(grid: PwcaGrid) -> pd.DataFrame:
    """Return a row a pair and a quantity: seeds, difference, its 95 % interval, and p."""
    rows = {}
    for pair in grid.pairs:
        name = f"{pair.with_pwca} less {pair.without}"
        for what, column in (("training", TRAIN), ("held-out", HELD_OUT)):
            rows[name, f"{what} loss at the end"] = compare_at_end(grid.gaps, pair, column)
        rows[name, "gap at the end"] = compare_at_end(grid.gaps, pair, "gap")
        equal = compare_at_equal_training_loss(grid.gaps, pair)
        rows[name, "held-out loss at equal training loss"] = equal
    table = pd.DataFrame(rows).T.rename_axis(["pair", "of"])
    table.columns = pd.Index(["seeds", "difference", "from", "to", "p"])
    return table.astype({"seeds": int})


def count_epochs_to(curves: pd.DataFrame, metric: str, share: float) -> pd.DataFrame:
    """Return a row an arm and seed: epochs, from 1, until a share of its own best is reached.

    Args:
        curves: As pipelines/ablate writes them.
        metric: A score, larger is better, such as `val/sa/top1_accuracy`.
        share: Of the best value of that training.
    """
    rows = []
    for (arm, seed), values in curves[curves["metric"] == metric].groupby(["arm", "seed"]):
        ordered = values.sort_values("epoch")
        reached = ordered["value"] >= share * ordered["value"].max()
        rows.append((arm, seed, int(ordered["epoch"][reached].iloc[0]) + 1))
    return pd.DataFrame(rows, columns=["arm", "seed", "epochs"])


def tell_regularisation(end: dict[str, float], equal: dict[str, float], pair: Pair) -> str:
    """Return what the two comparisons say of a pair.

    Args:
        end: Of `gap` by `compare_at_end`.
        equal: By `compare_at_equal_training_loss`.
        pair: Named in the sentence.
    """
    return (
        f"{pair.name}: with PWCA the gap at the end {_judge(end, 'is smaller', 'is larger')}, and "
        f"the held-out loss at equal training loss {_judge(equal, 'is lower', 'is higher')}."
    )


def _judge(found: dict[str, float], below: str, above: str) -> str:
    count = int(found["num_pairs"])
    if count < 2 or math.isnan(found["p_value"]):
        return f"cannot be judged by {count} seeds"
    low, high = found["difference_low_95"], found["difference_high_95"]
    size = f"{found['difference']:+.3f}, {low:+.3f} to {high:+.3f}, {count} seeds"
    if low <= 0 <= high:
        return f"cannot be told apart ({size})"
    return f"{below if high < 0 else above} ({size})"


def _compare(values: pd.Series[Any], pair: Pair) -> dict[str, float]:
    known = set(values.index.get_level_values("arm"))
    empty = pd.Series(dtype=float)
    with_pwca, without = (values[arm] if arm in known else empty for arm in pair[:2])
    return compare_paired(with_pwca, without)


def _trace(gaps: pd.DataFrame, arm: str, seed: int) -> pd.DataFrame:
    path = gaps[(gaps["arm"] == arm) & (gaps["seed"] == seed)].sort_values("epoch")
    before = path[TRAIN].cummin().shift(fill_value=math.inf)
    return path[path[TRAIN] < before]


def _read_at(path: pd.DataFrame, level: float) -> float:
    # np.interp wants rising places, and the loss of training falls.
    return float(np.interp(-level, -path[TRAIN].to_numpy(), path[HELD_OUT].to_numpy()))


def _name(overrides: dict[str, Any]) -> str:
    if not overrides:
        return "beside GLCA"
    if overrides == {"model.glca_blocks": 0}:
        return "without GLCA"
    return ", ".join(f"{key}={value}" for key, value in overrides.items())
