"""The held-out share is stratified or of whole identities, seeded, blind to row order."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcal.data.splits import hold_out, hold_out_identities


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


def _make_identities(num_identities: int, *, num_cameras: int = 2) -> pd.DataFrame:
    rows = [
        {"path": f"{identity}/{camera}", "split": "train", "identity": identity, "camera": camera}
        for identity in range(1, num_identities + 1)
        for camera in range(1, num_cameras + 1)
    ]
    rows.append({"path": "q", "split": "query", "identity": 1000, "camera": 1})
    return pd.DataFrame(rows).astype({"identity": "Int64", "camera": "Int64"})


def _val_identities(table: pd.DataFrame) -> set[int]:
    return set(table.loc[table["split"] == "val", "identity"])


@given(num_identities=st.integers(4, 60), ratio=st.floats(0.001, 0.9), seed=st.integers(0, 2**40))
def test_whole_identities_are_held_out_two_at_least_on_either_side(
    num_identities: int, ratio: float, seed: int
) -> None:
    table = _make_identities(num_identities)
    quota = max(2, round(ratio * num_identities))
    if num_identities - quota < 2:
        with pytest.raises(ValueError, match=r"dataset\.val_ratio: .* set it to 0"):
            hold_out_identities(table, ratio=ratio, seed=seed)
        return
    result = hold_out_identities(table, ratio=ratio, seed=seed)
    assert len(_val_identities(result)) == quota
    train = set(result.loc[result["split"] == "train", "identity"])
    assert len(train) == num_identities - quota and not train & _val_identities(result)
    assert (result["split"] == "query").sum() == 1
    assert set(table["split"]) == {"train", "query"}, "the input is left alone"


def test_held_out_identities_depend_on_the_seed_and_the_identities_alone() -> None:
    table = _make_identities(40)
    expected = _val_identities(hold_out_identities(table, ratio=0.1, seed=0))
    more_pictures = _make_identities(40, num_cameras=5).sample(frac=1, random_state=1)
    renamed = more_pictures.assign(path=range(len(more_pictures)))
    assert _val_identities(hold_out_identities(renamed, ratio=0.1, seed=0)) == expected
    chosen = {
        frozenset(_val_identities(hold_out_identities(table, ratio=0.1, seed=seed)))
        for seed in range(5)
    }
    assert len(chosen) == 5
    assert hold_out_identities(table, ratio=0.0, seed=0).equals(table)


def test_identities_seen_once_or_by_one_camera_are_passed_over() -> None:
    table = _make_identities(12)
    train = table["split"] == "train"
    table.loc[train & (table["identity"] <= 4), "camera"] = 1
    table = table[~((table["identity"].isin([5, 6])) & (table["camera"] == 2))]
    # A camera that is not known is no camera of another picture.
    table.loc[table["identity"] == 7, "camera"] = pd.NA
    for seed in range(20):
        held = _val_identities(hold_out_identities(table, ratio=0.5, seed=seed))
        assert held == {7, 8, 9, 10, 11, 12}
    with pytest.raises(ValueError, match="of 12 train identities holds out 7; .*: 6 were seen by"):
        hold_out_identities(table, ratio=0.6, seed=0)
