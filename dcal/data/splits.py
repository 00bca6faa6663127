"""A seeded, stratified share of the training pictures, held out for validation (ours)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def hold_out(table: pd.DataFrame, *, ratio: float, seed: int) -> pd.DataFrame:
    """Return the table with a share of its train rows moved to `val`.

    Every class gives its share to within one picture (by largest remainders, so that the total is
    the ratio of all train pictures to the nearest whole where the classes are large enough) and
    keeps one at least. The choice is a function of (seed, label, the label's sorted paths): row
    order does not matter.

    Raises:
        ValueError: The ratio is too small or the classes too few-sampled to hold out any picture.
    """
    if ratio == 0:
        return table
    train = table.loc[table["split"] == "train"].sort_values("path")
    rows = {label: train.index[train["label"] == label] for label in sorted(set(train["label"]))}
    quotas = _share(np.array([len(group) for group in rows.values()]), ratio=ratio)
    if quotas.sum() == 0:
        raise ValueError(
            f"dataset.val_ratio: {ratio} of {len(train)} training pictures in {len(rows)} classes "
            "holds out none; raise it, or set it to 0 to train without a val split"
        )
    result = table.copy()
    for (label, group), quota in zip(rows.items(), quotas, strict=True):
        generator = np.random.default_rng([seed, label])
        result.loc[generator.permutation(group)[:quota], "split"] = "val"
    return result


def _share(sizes: NDArray[np.int64], *, ratio: float) -> NDArray[np.int64]:
    exact = sizes * ratio
    quotas = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    num_missing = round(ratio * int(sizes.sum())) - int(quotas.sum())
    # Stable, so that of equal remainders the lower labels' come first.
    order = np.argsort(quotas - exact, kind="stable")
    can_give = order[(sizes[order] - quotas[order] >= 2) & (exact[order] > quotas[order])]
    quotas[can_give[: max(num_missing, 0)]] += 1
    return quotas
