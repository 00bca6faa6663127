"""The laws of growth are read off right."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import growth

TOKENS = np.array([197.0, 785.0, 1765.0, 3137.0])


def draw_record() -> dict:
    sides, batches = [], []
    for name in growth.NAMES:
        for side, tokens in zip(growth.SIDES, TOKENS, strict=True):
            seconds = 2e-4 * tokens + 3e-7 * tokens**2
            row = {"image_size": [side, side], "tokens": tokens, "variant": name}
            sides.append({**row, "train_seconds": seconds, "infer_seconds": seconds / 3})
        for batch in (2, 8):
            seconds = 0.01 + 0.1 * batch
            row = {"batch_size": batch, "variant": name}
            batches.append({**row, "train_seconds": seconds, "infer_seconds": seconds})
    record = {"sides": sides, "batches": batches}
    return {**record, "laws": growth.list_laws(record)}


def test_an_exact_law_is_found_again():
    law = growth.fit(TOKENS, TOKENS**2, 2e-4 * TOKENS + 3e-7 * TOKENS**2)
    assert law == pytest.approx((2e-4, 3e-7, 0), abs=1e-9)


def test_no_part_of_a_law_is_negative():
    law = growth.fit(TOKENS, TOKENS**2, 2e-4 * TOKENS - 1e-8 * TOKENS**2)
    assert law.second == 0 and law.largest_error > 0


def test_each_law_is_read_off_its_own_rows():
    laws = draw_record()["laws"]
    assert len(laws) == 2 * len(growth.WHATS) * len(growth.NAMES)
    for law in laws:
        expected = (0.01, 0.1) if law["grows"] == "batch" else (2e-4, 3e-7)
        if law["grows"] == "tokens" and law["what"] == "infer":
            expected = tuple(part / 3 for part in expected)
        assert (law["first"], law["second"]) == pytest.approx(expected)


def test_laws_are_printed_and_drawn():
    record = draw_record()
    text = growth.format_laws(record)
    assert text.count("\n") == 2 * len(growth.NAMES)
    assert "23% 54% 73% 82%" in text
    gallery = [{"gallery": 1e6, "floor_seconds": 1.0, "ours_seconds": 2.0}]
    axes = growth.draw(record, gallery).axes
    assert [a.get_xlabel() for a in axes] == [
        "pixels a side",
        "pictures a step",
        "gallery, million pictures",
    ]


def test_a_measured_row_has_both_passes_beside_plain_timm():
    job = growth.Job(growth.BACKBONE, (32, 32), 2)
    rows = growth.measure(job, "cpu", 1)
    assert [row["variant"] for row in rows] == list(growth.NAMES)
    assert rows[0]["train_ratio"] == rows[0]["infer_ratio"] == 1.0
    assert all(row["tokens"] == 5 for row in rows)
