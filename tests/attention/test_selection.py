from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcal.attention.selection import (
    count_local_queries,
    draw_patches,
    gather_rows,
    select_patches,
)


@pytest.mark.parametrize(
    "top_r, num_patches, expected",
    # The paper's cases; then shares that binary floating point would round the wrong way.
    [(0.1, 784, 78), (0.3, 128, 38), (0.3, 256, 76), (0.3, 10, 3), (0.7, 10, 7), (0.29, 100, 29)],
)
def test_count_is_the_decimal_floor(top_r, num_patches, expected):
    assert count_local_queries(top_r, num_patches) == expected


def test_count_is_at_least_one_and_at_most_all():
    assert count_local_queries(0.001, 64) == 1
    assert count_local_queries(1.0, 64) == 64


@pytest.mark.parametrize("top_r", [0.0, 1.5, -0.1])
def test_a_share_outside_its_range_is_an_error(top_r):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        count_local_queries(top_r, 10)


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=4),
    st.integers(1, 6),
)
def test_selection_equals_a_plain_sort_with_ties_by_position(rows, count):
    chosen = select_patches(torch.tensor(rows, dtype=torch.float32), count)
    for row, positions in zip(rows, chosen.tolist(), strict=True):
        assert positions == sorted(range(6), key=lambda i: (-row[i], i))[:count]


def test_everything_is_selected_at_a_share_of_one():
    chosen = select_patches(torch.rand(3, 8), count_local_queries(1.0, 8))
    assert chosen.sort(dim=1).values.tolist() == [list(range(8))] * 3


def test_gather_takes_each_images_own_rows():
    tokens = torch.arange(24.0).reshape(2, 4, 3)
    gathered = gather_rows(tokens, torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(gathered, torch.stack((tokens[0, [3, 0]], tokens[1, [1, 1]])))


def test_drawn_patches_are_distinct_and_each_equally_likely():
    torch.manual_seed(0)
    drawn = draw_patches(4000, 10, 3, device="cpu")
    assert drawn.shape == (4000, 3)
    assert (drawn.sort(dim=1).values.diff(dim=1) > 0).all()
    # 1,200 expected of each; five standard deviations of a binomial are 145.
    assert (drawn.flatten().bincount(minlength=10) - 1200).abs().max() < 145
