"""The held-out share is stratified, seeded, and independent of row order."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcal.data.splits import hold_out


def _make_table(sizes: list[int], *, num_test: int = 3) -> pd.DataFrame:
    rows = [
        {"path": f"{label}/{number:04d}", "split": "train", "label": label}
        for label, size in enumerate(sizes)
        for number in range(size)
    ]
    rows += [{"path": f"t/{number}", "split": "test", "label": 0} for number in range(num_test)]
    return pd.DataFrame(rows)


def _val_paths(table: pd.DataFrame) -> set[str]:
    return set(table.loc[table["split"] == "val", "path"])


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    ratio=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**40),
)
def test_every_class_gives_its_share_and_keeps_a_picture(
    sizes: list[int], ratio: float, seed: int
) -> None:
    table = _make_table(sizes)
    try:
        result = hold_out(table, ratio=ratio, seed=seed)
    except ValueError:
        assert round(ratio * sum(sizes)) == 0 or max(sizes) == 1
        return
    taken = result[result["split"] == "val"].groupby("label").size().reindex(range(len(sizes)))
    for size, num_taken in zip(sizes, taken.fillna(0), strict=True):
        assert num_taken <= size - 1
        assert abs(num_taken - min(size * ratio, size - 1)) < 1
    assert sum(result["split"] == "test") == 3
    assert table["split"].isin(["train", "test"]).all(), "the input is left alone"


def test_the_total_is_the_ratio_to_the_nearest_whole() -> None:
    result = hold_out(_make_table([15] * 10), ratio=0.1, seed=0)
    sizes = result[result["split"] == "val"].groupby("label").size()
    assert sizes.sum() == 15
    assert set(sizes) == {1, 2}


def test_row_order_does_not_matter_and_the_seed_does() -> None:
    table = _make_table([20, 30])
    shuffled = table.sample(frac=1, random_state=1)
    assert _val_paths(hold_out(table, ratio=0.2, seed=0)) == _val_paths(
        hold_out(shuffled, ratio=0.2, seed=0)
    )
    chosen = {frozenset(_val_paths(hold_out(table, ratio=0.2, seed=seed))) for seed in range(5)}
    assert len(chosen) == 5


def test_zero_holds_out_nothing() -> None:
    table = _make_table([5, 5])
    assert hold_out(table, ratio=0.0, seed=0).equals(table)


def test_a_ratio_that_holds_out_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"dataset\.val_ratio: 0\.01 of 10 .* holds out none"):
        hold_out(_make_table([5, 5]), ratio=0.01, seed=0)
