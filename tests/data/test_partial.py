"""What is missing of a data set is said wherever its scores are."""

from __future__ import annotations

import pandas as pd

from dcal.data.partial import label_partial, list_partial


def test_only_warnings_of_missing_pictures_are_for_every_table() -> None:
    warnings = ["left out: 1 of 9 pictures", "2 of 3 are copies", "not the official set: x"]
    assert list_partial(warnings) == [warnings[0], warnings[2]]


def test_a_table_of_less_than_the_whole_set_says_so_in_every_row() -> None:
    table = pd.DataFrame({"score": [1, 2]})
    assert label_partial(table, []) is table
    assert label_partial(table, ["left out: 1 of 9 pictures"])["data"].tolist() == ["partial"] * 2
    assert list(table) == ["score"]
