"""Tables as files inside the page: each figure's numbers, for whoever draws it anew (ours)."""

from __future__ import annotations

import base64
from typing import NamedTuple

import pandas as pd


class Attachment(NamedTuple):
    """A CSV file that the page holds and a click saves."""

    name: str
    uri: str
    rows: str  # how many, to be read


def attach_csv(name: str, table: pd.DataFrame) -> Attachment:
    """Return a table as a CSV file in a data URI.

    Args:
        name: Of the file, such as `scores.csv`.
        table: Its index is not written.
    """
    text = table.to_csv(index=False, lineterminator="\n")
    encoded = base64.b64encode(text.encode()).decode("ascii")
    rows = "1 row" if len(table) == 1 else f"{len(table)} rows"
    return Attachment(name, f"data:text/csv;charset=utf-8;base64,{encoded}", rows)
