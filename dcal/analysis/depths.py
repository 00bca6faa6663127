"""At which depth rollout lies on the parts, in a table and in sentences (ours).

`scores` are those of `dcal.inference.depths.score_depths`: a row a picture and number of blocks.
"""

from __future__ import annotations

import pandas as pd

from dcal.inference.localization import get_selection_depth
from dcal.inference.scoring import Scoring

SHARE, PEAK = "share on the parts", "peak on a part"


def tell_model(scoring: Scoring) -> str:
    """Return a sentence on the model, its data set, and the depth that GLCA selects at."""
    model = scoring.model
    selecting = f" GLCA selects after {get_selection_depth(model)} blocks."
    return (
        f"Model: {scoring.config.model.backbone}, {model.num_blocks} blocks, on the test split of "
        f"{scoring.pictures.report.dataset}.{selecting if model.selects_patches else ''}"
    )


def summarise_depths(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over pictures of `SHARE` and `PEAK`, in [0, 1], a row a number of blocks."""
    means = scores.groupby("num_blocks")[["energy_share", "pointing_game"]].mean()
    means.columns = pd.Index([SHARE, PEAK])
    return means.rename_axis("blocks")


def measure_uniform(scores: pd.DataFrame) -> float:
    """Return the share on the parts of a map that is the same everywhere: the parts' area."""
    return float(scores["area_share"].mean())


def format_depths(summary: pd.DataFrame) -> pd.DataFrame:
    """Return `summarise_depths` for a reader: a column a number of blocks, per cent."""
    return summary.T.map(_percent)


def tell_depths(scores: pd.DataFrame) -> str:
    """Return the answer: where the share on the parts is largest, and what others get.

    Without scores it says that there is nothing but the pictures to go by.
    """
    if scores.empty:
        return "Without part annotation the pictures above are all there is to judge the blocks by."
    shares = summarise_depths(scores)[SHARE]
    return (
        f"**The largest share of the rollout lies on the parts at {shares.idxmax()} of "
        f"{shares.index.max()} blocks**: {_percent(shares.max())} of it, against "
        f"{_percent(measure_uniform(scores))} of a uniform map ({scores['row'].nunique()} test "
        f"pictures). The smallest is {_percent(shares.min())}: depths that lie within the bands "
        "above cannot be told apart."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
