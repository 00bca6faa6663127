"""Equal rows are found, all of them and no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcal.metrics.copies import find_copies


@given(
    rows=st.lists(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5]), min_size=2, max_size=2)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
)
def test_every_row_that_equals_an_earlier_one_is_named_with_the_first(
    rows: list[list[float]], dtype: torch.dtype
) -> None:
    features = torch.tensor([[9.0, 9.0], *rows], dtype=dtype)
    values = features.tolist()
    expected = [
        (position, values.index(row))  # 0 and -0 are equal
        for position, row in enumerate(values)
        if values.index(row) != position
    ]
    copies, originals = find_copies(features)
    assert list(zip(copies.tolist(), originals.tolist(), strict=True)) == expected


def test_rows_that_differ_in_the_last_bit_are_no_copies() -> None:
    row = np.random.default_rng(0).normal(size=384).astype(np.float32)
    other = row.copy()
    other[200] = np.nextafter(other[200], np.float32(9))
    copies, originals = find_copies(torch.from_numpy(np.stack([row, other, row])))
    assert (copies.tolist(), originals.tolist()) == ([2], [0])


@pytest.mark.parametrize("count", [1, 2_500, 5_001])
def test_copies_are_found_across_pieces(count: int) -> None:
    features = torch.randn(count, 256, generator=torch.Generator().manual_seed(0))
    copies, _ = find_copies(torch.cat([features, features]))
    assert copies.tolist() == list(range(count, 2 * count))
