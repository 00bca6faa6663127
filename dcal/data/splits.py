"""A seeded share of the training pictures or identities, held out for validation (ours)."""

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


def hold_out_identities(table: pd.DataFrame, *, ratio: float, seed: int) -> pd.DataFrame:
    """Return the table with all rows of a share of its train identities moved to `val`.

    The share is of the identities, to the nearest whole, and two at least: a ranking of one has
    no wrong answer. They are the first ones of an order that is a function of (seed, the sorted
    identities), those passed over that no val query could find: seen once, or by one camera only.

    Raises:
        ValueError: There are not that many to be found, or fewer than two would stay in train.
    """
    if ratio == 0:
        return table
    train = table.loc[table["split"] == "train"]
    identities = sorted(set(train["identity"]))
    quota = max(2, round(ratio * len(identities)))
    findable = _list_findable(train)
    if len(findable) < quota or len(identities) - quota < 2:
        raise ValueError(
            f"dataset.val_ratio: {ratio} of {len(identities)} train identities holds out {quota}; "
            f"expected two at least to stay, and as many to choose from: {len(findable)} were seen "
            "by two cameras or more. Lower it, or set it to 0 to train without a val split"
        )
    order = np.random.default_rng(seed).permutation(len(identities))
    in_order = [identities[place] for place in order if identities[place] in findable]
    is_moved = (table["split"] == "train") & table["identity"].isin(in_order[:quota])
    return table.assign(split=table["split"].mask(is_moved, "val"))


def _list_findable(train: pd.DataFrame) -> set[int]:
    """List the identities with two pictures that the camera rule does not keep apart."""
    groups = train.groupby("identity")["camera"]
    # A camera that is not known equals no other.
    num_cameras = groups.nunique() + (groups.size() - groups.count())
    return set(num_cameras.index[num_cameras >= 2])


def _share(sizes: NDArray[np.int64], *, ratio: float) -> NDArray[np.int64]:
    exact = sizes * ratio
    quotas = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    num_missing = round(ratio * int(sizes.sum())) - int(quotas.sum())
    # Stable, so that of equal remainders the lower labels' come first.
    order = np.argsort(quotas - exact, kind="stable")
    can_give = order[(sizes[order] - quotas[order] >= 2) & (exact[order] > quotas[order])]
    quotas[can_give[: max(num_missing, 0)]] += 1
    return quotas
