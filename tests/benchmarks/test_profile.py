"""The profile of a step: every operation counts once, under one kind."""

from __future__ import annotations

import pytest

from benchmarks import profile
from benchmarks.variants import Job


@pytest.fixture(scope="module")
def seconds():
    return profile.profile_job(Job("deit_tiny_patch16_224", (32, 48), 2), "cpu", 1)


def test_all_variants_are_profiled_by_the_same_kinds(seconds):
    assert tuple(seconds) == profile.VARIANTS
    kinds = [*profile.KINDS, profile.REST, profile.BETWEEN]
    assert all(list(row) == kinds for row in seconds.values())
    assert all(row["linear layers"] > 0 for row in seconds.values())


def test_the_explicit_model_alone_multiplies_whole_attention_matrices(seconds):
    assert seconds["explicit"]["softmax"] > 0 and seconds["plain"]["softmax"] < 1e-3
    assert seconds["explicit"]["products of attention"] > 0
    assert seconds["plain"]["products of attention"] == 0
    assert seconds["plain"]["fused attention"] > 0


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "linear layers"),
        ("aten::mm", "linear layers"),
        ("aten::bmm", "products of attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "fused attention"),
        ("aten::_log_softmax", "softmax"),
        ("aten::native_layer_norm_backward", "norms"),
        ("aten::_fused_adamw_", "optimiser"),
        ("aten::copy_", "copies"),
        ("aten::add_", "sums and scales"),
        ("aten::pow", profile.REST),
    ],
)
def test_an_operation_has_one_kind(operation, kind):
    assert profile.find_kind(operation) == kind


def test_the_table_ends_with_the_sum(seconds):
    job = Job("deit_tiny_patch16_224", (32, 48), 2)
    lines = profile.format_profile(job, seconds).splitlines()
    assert lines[1].startswith("deit_tiny_patch16_224, 32 x 48")
    assert lines[-1].startswith("all ")
    assert float(lines[-1].split()[1]) == pytest.approx(sum(seconds["plain"].values()), abs=6e-4)
