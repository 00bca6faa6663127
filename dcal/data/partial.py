"""How a warning starts that says that a data set is not whole, or not the official one (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

UNOFFICIAL = "not the official set:"
LEFT_OUT = "left out:"


def list_partial(warnings: Iterable[str]) -> list[str]:
    """Return the warnings that every later table of results has to carry."""
    return [said for said in warnings if said.startswith((UNOFFICIAL, LEFT_OUT))]


def label_partial(table: pd.DataFrame, partial: Sequence[str]) -> pd.DataFrame:
    """Add the column `data`, partial, to a table of scores on less than the whole set.

    Args:
        table: What is about to be written.
        partial: Of the index's report; empty = nothing is missing, and nothing is added.
    """
    return table.assign(data="partial") if partial else table
