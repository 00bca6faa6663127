"""What a ranking and its errors say, in tables and sentences for a reader (ours)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dcal.analysis.ablation_texts import BRANCH_NAMES
from dcal.metrics.ranking import RankingResult
from dcal.training.retrieval import list_scores

SCORES = {"mean_ap": "mean AP", "cmc_1": "rank-1", "cmc_5": "rank-5", "mean_inp": "mean INP"}
COMMONEST = 5  # mix-ups that the answer counts


def format_scores(results: Mapping[str, RankingResult]) -> pd.DataFrame:
    """Return `SCORES` for a reader: a row a branch, per cent."""
    rows = {}
    for branch, result in results.items():
        scores = list_scores(result)
        rows[BRANCH_NAMES[branch]] = {
            name: f"{100 * scores[key]:.1f} %" for key, name in SCORES.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def tabulate_cameras(asked: pd.DataFrame) -> pd.DataFrame:
    """Return the share of queries that were answered right, by query and gallery camera.

    Args:
        asked: Of `dcal.inference.camera_pairs.compare_cameras`.

    Returns:
        Shares in [0, 1]: a row a camera of queries, a column a camera that was asked; NaN where
        no query could be. Empty where cameras are not known.
    """
    return asked.assign(is_right=asked["is_right"].astype(float)).pivot_table(
        index="query_camera", columns="camera", values="is_right", aggfunc="mean"
    )


def format_confusions(confusions: pd.DataFrame, *, num: int) -> pd.DataFrame:
    """Return the commonest mix-ups of `build_confusions` for a reader, a row a pair."""
    shown = confusions.head(num).set_index("identity")
    table = pd.DataFrame(
        {
            "taken for": shown["wrong_identity"],
            "queries": shown["num_queries"],
            "ahead of every right one": shown["num_ahead"],
            "smallest distance": shown["distance"].map("{:.3f}".format),
        }
    )
    return table.rename_axis(index=None, columns="identity")


def tell_errors(confusions: pd.DataFrame, shares: pd.DataFrame, *, num_queries: int) -> str:
    """Return the answer: how many queries go wrong, by which mix-ups, and between which cameras.

    Args:
        confusions: Of `build_confusions`.
        shares: Of `tabulate_cameras`.
        num_queries: Those that have a right picture to be found.
    """
    ahead = confusions["num_ahead"]
    commonest = min(COMMONEST, int((ahead > 0).sum()))
    text = f"{int(ahead.sum())} of {num_queries} queries have a wrong picture first"
    if commonest:
        name = "mix-up makes" if commonest == 1 else f"{commonest} mix-ups make"
        text += f"; the commonest {name} up {int(ahead.head(commonest).sum())} of them"
    return f"**{text}.{_tell_cameras(shares)}**"


def _tell_cameras(shares: pd.DataFrame) -> str:
    if shares.empty:
        return " Cameras are not known, or show nobody twice."
    values = shares.to_numpy()
    row, column = divmod(int(np.nanargmin(values)), len(shares.columns))
    return (
        f" The weakest way is from camera {shares.index[row]} to camera {shares.columns[column]} "
        f"({np.nanmin(values):.2f}), the strongest reaches {np.nanmax(values):.2f}."
    )
