"""What guessing scores on a data set: the commonest class, or a gallery in random order (ours).

Of a query N gallery pictures are ranked and n of them are right; the camera rule and junk are as in
`dcal.metrics.ranking`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dcal.data.identities import JUNK


def compute_majority_accuracy(table: pd.DataFrame, *, split: str = "test") -> float:
    """Return what the commonest class of train gets on a split; of equally common ones the best."""
    counts = table.loc[table["split"] == "train", "label"].value_counts()
    scored = table.loc[table["split"] == split, "label"]
    commonest = counts.index[counts == counts.max()]
    return float(scored.value_counts(normalize=True).reindex(commonest, fill_value=0).max())


def count_candidates(table: pd.DataFrame) -> pd.DataFrame:
    """Count what is ranked for each query of a Re-ID index.

    Returns:
        A row a query, its index the index's: num_kept (N) and num_positives (n).
    """
    gallery = table[(table["split"] == "gallery") & (table["identity"] != JUNK)]
    queries = table.loc[table["split"] == "query", ["identity", "camera"]]
    same = gallery.groupby("identity").size().rename("num_same")
    # A camera that is not known is in no group, and so meets none.
    left_out = gallery.groupby(["identity", "camera"]).size().rename("num_left_out")
    counts = queries.join(same, on="identity").join(left_out, on=["identity", "camera"])
    counts = counts[["num_same", "num_left_out"]].fillna(0).astype("int64")
    return pd.DataFrame(
        {
            "num_kept": len(gallery) - counts["num_left_out"],
            "num_positives": counts["num_same"] - counts["num_left_out"],
        }
    )


def compute_random_precision(
    num_positives: ArrayLike,
    num_kept: ArrayLike,
    *,
    average_precision: Literal["rectangle", "trapezoid"] = "rectangle",
) -> NDArray[np.float64]:
    """Return the expected average precision of a random order.

    The picture at rank k is right with probability n / N, and each of the k - 1 before it then with
    s = (n - 1) / (N - 1). So the precision there is (1 + (k - 1) s) / k, and that before it s (1 at
    the first rank); their means over the ranks are s + (1 - s) H / N, with H the N-th harmonic
    number, and n / N.

    Args:
        num_positives: n, at least 1; any shape.
        num_kept: N, at least n.
        average_precision: See `dcal.metrics.ranking.evaluate_ranking`.
    """
    positives, kept = np.asarray(num_positives), np.asarray(num_kept)
    harmonic = np.cumsum(1 / np.arange(1, int(kept.max(initial=1)) + 1))[kept - 1]
    share = (positives - 1) / np.maximum(kept - 1, 1)
    precision = share + (1 - share) * harmonic / kept
    if average_precision == "trapezoid":
        precision = (precision + positives / kept) / 2
    return np.asarray(precision)


def compute_random_ranking(
    table: pd.DataFrame,
    *,
    average_precision: Literal["rectangle", "trapezoid"] = "rectangle",
) -> dict[str, float]:
    """Return what random orders of the gallery are expected to score, over the valid queries.

    Returns:
        mean_ap and cmc_1; NaN where no query is valid.
    """
    counts = count_candidates(table)
    valid = counts[counts["num_positives"] > 0]
    if valid.empty:
        return {"mean_ap": float("nan"), "cmc_1": float("nan")}
    precisions = compute_random_precision(
        valid["num_positives"], valid["num_kept"], average_precision=average_precision
    )
    shares = valid["num_positives"] / valid["num_kept"]
    return {"mean_ap": float(precisions.mean()), "cmc_1": float(shares.mean())}
