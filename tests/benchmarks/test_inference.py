"""The benchmark of inference compares what it says."""

from __future__ import annotations

import pytest

from benchmarks import inference
from benchmarks.variants import Job

JOB = Job("deit_tiny_patch16_224", (32, 48), 1)
RATES = {"fp32": 1e9, "bf16": 2e9}


@pytest.fixture(scope="module")
def rows():
    return inference.measure(JOB, "cpu", 1, RATES)


def test_every_model_runs_in_both_precisions_beside_plain_timm(rows):
    expected = [(name, precision) for precision in RATES for name in inference.NAMES]
    assert [(row["variant"], row["precision"]) for row in rows] == expected
    assert rows[0]["ratio"] == 1.0
    assert all(row["images_per_second"] == 1 / row["seconds"] for row in rows)


def test_half_precision_says_how_far_off_it_is_and_what_flips(rows):
    halves = {row["variant"]: row for row in rows if row["precision"] == "bf16"}
    assert all(0 < row["probability_difference"] < 0.01 for row in halves.values())
    assert 0 <= halves["class_local"]["flipped_share"] < 1
    assert "flipped_share" not in halves["class"]  # it selects nothing
    assert "probability_difference" not in rows[0]


def test_the_table_has_a_line_a_model(rows):
    assert inference.format_rows(rows).count("\n") == 2 + len(rows) - 1 + 1
