"""Does PWCA regularise: arms of a grid with and without it, compared seed by seed (ours).

A regulariser fits the training pictures less and loses less on others. What trains slower has a
smaller gap at the same epoch all the same, so the verdict is that at equal loss of training.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dcal.analysis.ablation_results import Ablation, read_ablations
from dcal.analysis.generalisation import (
    ACCURACY,
    Pair,
    compare_arms,
    compare_at_end,
    compare_at_equal_training_loss,
    compute_gaps,
    count_epochs_to,
)
from dcal.analysis.intervals import adjust_by_holm

KEY = "model.pwca_blocks"
TRAINING_LOSS, HELD_OUT_LOSS = "training loss at the end", "held-out loss at the end"
LOSS_GAP, ACCURACY_GAP = "gap of loss at the end", "gap of top-1 at the end"
EQUAL = "held-out loss at equal training loss"
SHARE = 0.95
EPOCHS = f"epochs to {SHARE:.0%} of the best held-out score"
_OF_PWCA, _WEIGHT = "train/pwca/loss", "train/log_variance/"


class PwcaGrid(NamedTuple):
    """A grid that says something of PWCA."""

    name: str
    ablation: Ablation
    pairs: list[Pair]
    gaps: pd.DataFrame  # of loss, by `compute_gaps`

    @property
    def arms(self) -> list[str]:
        """Return the arms of all pairs, each once."""
        return list(dict.fromkeys(arm for pair in self.pairs for arm in pair))

    def select(self, column: str) -> pd.DataFrame:
        """Return a column of the gaps as rows of arm, seed, epoch and value."""
        return self.gaps[["arm", "seed", "epoch"]].assign(value=self.gaps[column])


def read_pwca_grids(root: str | Path) -> tuple[list[PwcaGrid], dict[str, str]]:
    """Return the grids of results/ablate that can be asked, and by name why others cannot."""
    found = []
    ablations, left_out = read_ablations(root)
    for ablation in ablations:
        name = str(ablation.head["grid"])
        pairs = find_pairs(ablation.head["arms"], list_arms_with_pwca(ablation.curves))
        gaps = compute_gaps(ablation.curves)
        if not pairs:
            left_out[name] = "no two trained arms differ by PWCA alone"
        elif gaps.empty:
            left_out[name] = "no held-out loss was kept over epochs"
        else:
            found.append(PwcaGrid(name, ablation, pairs, gaps))
    return found, left_out


def list_arms_with_pwca(curves: pd.DataFrame) -> dict[str, bool]:
    """Return for each arm that was trained whether PWCA was: whether its loss was logged."""
    arms = curves["arm"].unique()
    with_pwca = set(curves.loc[curves["metric"] == _OF_PWCA, "arm"])
    return {str(arm): arm in with_pwca for arm in arms}


def find_pairs(arms: Mapping[str, Mapping[str, Any]], has_pwca: Mapping[str, bool]) -> list[Pair]:
    """Return the pairs of arms that differ in nothing but `model.pwca_blocks`.

    Args:
        arms: Overrides by arm, as in grid.json; the baseline has none.
        has_pwca: By arm; an arm that is not in it has no curves, so it is in no pair.
    """
    rest = {name: {k: v for k, v in of.items() if k != KEY} for name, of in arms.items()}
    known = [name for name in arms if name in has_pwca]
    return [
        Pair(one, other)
        for one in known
        for other in known
        if rest[one] == rest[other] and has_pwca[one] and not has_pwca[other]
    ]


def compare_pairs(grid: PwcaGrid) -> pd.DataFrame:
    """Return a row a pair and a quantity, with what `compare_paired` returns and Holm's p.

    Differences are with PWCA less without. Holm's p counts all rows of the grid.
    """
    accuracies = compute_gaps(grid.ablation.curves, ACCURACY)
    metric = f"val/sa/{grid.ablation.score}"
    epochs = count_epochs_to(grid.ablation.curves, metric, SHARE)
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for pair in grid.pairs:
        found = {
            TRAINING_LOSS: compare_at_end(grid.gaps, pair, "training"),
            HELD_OUT_LOSS: compare_at_end(grid.gaps, pair, "held_out"),
            LOSS_GAP: compare_at_end(grid.gaps, pair, "gap"),
            ACCURACY_GAP: compare_at_end(accuracies, pair, "gap"),
            EQUAL: compare_at_equal_training_loss(grid.gaps, pair),
            EPOCHS: compare_arms(epochs, pair),
        }
        rows |= {(pair.name, what): row for what, row in found.items()}
    table = pd.DataFrame(rows).T.rename_axis(["pair", "of"]).astype({"num_pairs": int})
    return table.assign(p_holm=adjust_by_holm(table["p_value"].tolist()))


def compare_seconds(grid: PwcaGrid) -> pd.DataFrame:
    """Return a row a pair: how many times as long training takes with PWCA, and PWCA's share.

    The ratio is the geometric mean over seeds, with its interval, since a machine that was busy is
    so many times slower; the share is that of the time with PWCA.
    """
    done = grid.ablation.trainings
    # A training that failed has none, and one of a moment is written as 0.
    seconds = done[done["seconds"] > 0].set_index(["arm", "seed"])["seconds"].astype(float)
    rows = {}
    for pair in grid.pairs:
        found = compare_arms(pd.Series(np.log(seconds)), pair)
        keys = ("difference", "difference_low_95", "difference_high_95")
        ratio, low, high = (math.exp(found[key]) for key in keys)
        row = {"num_pairs": found["num_pairs"], "ratio": ratio, "low_95": low, "high_95": high}
        rows[pair.name] = row | {"share": 1 - 1 / ratio}
    return pd.DataFrame(rows).T.rename_axis("pair").astype({"num_pairs": int})


def select_loss_weights(curves: pd.DataFrame, arms: Collection[str]) -> pd.DataFrame:
    """Return rows of arm, branch, seed, epoch and value: w of each branch, where it is learned."""
    is_weight = curves["metric"].str.startswith(_WEIGHT) & curves["arm"].isin(arms)
    chosen = curves[is_weight]
    return chosen.assign(branch=chosen["metric"].str.removeprefix(_WEIGHT)).drop(columns="metric")


def measure_loss_weights(weights: pd.DataFrame) -> pd.DataFrame:
    """Return by arm and branch exp(-w) / 2 at the last epoch, which its loss is multiplied by."""
    last = weights.sort_values("epoch").groupby(["arm", "branch", "seed"])["value"].last()
    factors = np.exp(-last) / 2
    return pd.DataFrame(factors.groupby(["arm", "branch"]).mean().unstack("branch"))
