"""The benchmark of rollout times forms that agree."""

from __future__ import annotations

import torch

from benchmarks import rollout

SHAPE = (2, 3, 17, 8)


def test_every_form_gives_the_exact_row():
    rows = rollout.measure_shape(SHAPE, "cpu", rounds=1, rate=1e9)
    assert [row["form"] for row in rows] == [
        "tiles",
        "heads",
        "log_sum_exp, lse given",
        "log_sum_exp",
        "product",
    ]
    assert all(row["difference"] < 1e-5 for row in rows)
    assert rows[0]["ratio"] == 1.0


def test_the_fused_attentions_log_sum_exp_is_that_of_the_rows():
    drawn = rollout.draw(SHAPE, "cpu")
    queries, keys = drawn.blocks[0]
    expected = (queries @ keys.transpose(-2, -1) * drawn.scale).logsumexp(dim=-1)
    torch.testing.assert_close(drawn.log_sum_exps[0], expected)
