"""Ranking against a slow oracle, the golden values, and what must hold for any gallery."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dcal.metrics import positions
from dcal.metrics.distances import check_features
from dcal.metrics.ranking import (
    check_options,
    compute_average_precision,
    compute_cmc,
    describe_invalid,
    evaluate_ranking,
)
from tests.metrics.slow_ranking import rank_slowly


def evaluate(sides: dict[str, Any], **options: Any):
    sides = {
        name: torch.tensor(value, dtype=torch.float32) if name.endswith("features") else value
        for name, value in sides.items()
    }
    return evaluate_ranking(**sides, **options)


def assert_equal(found, expected) -> None:
    assert found.num_valid_queries == expected.num_valid_queries
    np.testing.assert_allclose(found.cmc, expected.cmc, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.mean_ap, expected.mean_ap, atol=1e-12)
    np.testing.assert_allclose(found.mean_inp, expected.mean_inp, atol=1e-12)


@pytest.mark.parametrize(
    ("relevance", "rectangle", "trapezoid", "penalty"),
    [
        ([1, 1, 0, 0], 1.0, 1.0, 1.0),
        ([1, 0, 1, 0, 0], 0.833333, 0.791667, 0.666667),
        ([0, 1, 0, 1, 1], 0.533333, 0.405556, 0.6),
        ([0, 0, 0, 1], 0.25, 0.125, 0.25),
        ([1, 0, 0, 0, 1, 1, 0], 0.633333, 0.591667, 0.5),
    ],
)
def test_golden_average_precisions(
    relevance: list[int], rectangle: float, trapezoid: float, penalty: float
) -> None:
    ranks = np.flatnonzero(relevance) + 1
    assert compute_average_precision(ranks) == pytest.approx(rectangle, abs=1e-6)
    assert compute_average_precision(ranks, ap="trapezoid") == pytest.approx(trapezoid, abs=1e-6)
    # The same list as a gallery at growing distances of one query.
    result = evaluate(
        {
            "query_features": [[0.0]],
            "gallery_features": [[float(i)] for i in range(1, len(relevance) + 1)],
            "query_identities": [7],
            "gallery_identities": [7 if is_right else 8 for is_right in relevance],
        },
        normalize=False,
    )
    assert result.mean_ap == pytest.approx(rectangle, abs=1e-6)
    assert result.mean_inp == pytest.approx(penalty, abs=1e-6)


@st.composite
def draw_sides(draw: st.DrawFn) -> dict[str, Any]:
    """Draw small galleries of whole numbers, whose distances are exact and often equal."""
    num_queries, num_gallery = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    width, has_cameras = draw(st.integers(1, 3)), draw(st.booleans())
    numbers = st.integers(-2, 2)
    sides: dict[str, Any] = {}
    for side, count in (("query", num_queries), ("gallery", num_gallery)):
        features = draw(arrays.arrays(np.int64, (count, width), elements=numbers))
        sides[f"{side}_features"] = features.astype(float).tolist()
        identities = st.integers(-1 if side == "gallery" else 0, 3)
        sides[f"{side}_identities"] = draw(st.lists(identities, min_size=count, max_size=count))
        if has_cameras:
            cameras = st.integers(-1, 2)
            sides[f"{side}_cameras"] = draw(st.lists(cameras, min_size=count, max_size=count))
    return sides


@given(draw_sides(), st.sampled_from(["rectangle", "trapezoid"]), st.booleans(), st.booleans())
def test_ranks_are_those_of_the_oracle(
    sides: dict[str, Any], ap: Any, is_counted: bool, is_on_device: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "MAX_COUNTED", 256 if is_counted else 0)
        if is_on_device:
            patch.setattr(positions, "_count_in_rows", positions._count_on_device)
        found = evaluate(sides, ap=ap, normalize=False)
    assert_equal(found, rank_slowly(**sides, ap=ap, normalize=False))


@given(draw_sides(), st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_changes_nothing_but_ties(
    sides: dict[str, Any], random: Any
) -> None:
    generator = np.random.default_rng(random.randrange(2**32))
    count = len(sides["gallery_features"])
    sides["gallery_features"] = generator.normal(size=(count, 4)).tolist()
    sides["query_features"] = generator.normal(size=(len(sides["query_features"]), 4)).tolist()
    order = generator.permutation(count)
    permuted = {
        name: [value[i] for i in order] if name.startswith("gallery") else value
        for name, value in sides.items()
    }
    one, other = evaluate(sides), evaluate(permuted)
    np.testing.assert_array_equal(one.first_ranks, other.first_ranks)
    np.testing.assert_allclose(one.average_precisions, other.average_precisions, rtol=1e-12)


@given(draw_sides())
def test_junk_changes_nothing_and_distractors_can_only_lower(sides: dict[str, Any]) -> None:
    def add(identity: int) -> dict[str, Any]:
        more = {
            **sides,
            "gallery_features": [*sides["query_features"], *sides["gallery_features"]],
            "gallery_identities": [identity] * len(sides["query_features"])
            + sides["gallery_identities"],
        }
        if "query_cameras" in sides:
            more["gallery_cameras"] = [*sides["query_cameras"], *sides["gallery_cameras"]]
        return more

    plain = evaluate(sides, normalize=False)
    junk, distractors = (evaluate(add(identity), normalize=False) for identity in (-1, 99))
    np.testing.assert_array_equal(plain.first_ranks, junk.first_ranks)
    np.testing.assert_array_equal(plain.average_precisions, junk.average_precisions)
    assert (
        np.nan_to_num(distractors.average_precisions) <= np.nan_to_num(plain.average_precisions)
    ).all()
    assert (distractors.first_ranks >= plain.first_ranks).all()


def make_sides(*, num_identities: int = 6, num_cameras: int = 3, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    identities, cameras = np.divmod(np.arange(num_identities * num_cameras * 2), num_cameras * 2)
    cameras = cameras % num_cameras
    centers = generator.normal(size=(num_identities, 16))
    features = centers[identities] + generator.normal(size=(len(identities), 16))
    is_query = np.arange(len(identities)) % (num_cameras * 2) < num_cameras
    return {
        "query_features": torch.from_numpy(features[is_query]).float(),
        "gallery_features": torch.from_numpy(features[~is_query]).float(),
        "query_identities": identities[is_query],
        "gallery_identities": identities[~is_query],
        "query_cameras": cameras[is_query],
        "gallery_cameras": cameras[~is_query],
    }


def test_a_query_copied_into_the_gallery_under_its_camera_changes_nothing_for_it() -> None:
    sides = make_sides()
    plain = evaluate_ranking(**sides)
    for query in range(18):
        doubled = dict(sides)
        for name in ("features", "identities", "cameras"):
            join = torch.cat if name == "features" else np.concatenate
            copy = sides[f"query_{name}"][query : query + 1]
            doubled[f"gallery_{name}"] = join([sides[f"gallery_{name}"], copy])
        copied = evaluate_ranking(**doubled)
        assert copied.average_precisions[query] == plain.average_precisions[query]


def test_perfect_features_score_one() -> None:
    sides = make_sides()
    for side in ("query", "gallery"):
        sides[f"{side}_features"] = torch.eye(6)[torch.from_numpy(sides[f"{side}_identities"])]
    result = evaluate_ranking(**sides)
    assert result.cmc[0] == result.mean_ap == result.mean_inp == 1


def test_constant_features_score_by_gallery_order_alone() -> None:
    sides = make_sides()
    for side in ("query", "gallery"):
        sides[f"{side}_features"] = torch.ones(len(sides[f"{side}_identities"]), 4)
    expected = rank_slowly(**{k: v.tolist() for k, v in sides.items()})
    assert_equal(evaluate_ranking(**sides), expected)


@pytest.mark.parametrize("num_queries", [1, 2, 3, 35, 513])
def test_equal_pictures_tie_whatever_the_kernel_of_the_product_rounds(num_queries: int) -> None:
    # A collapsed model: among equal pictures the positive is the last one.
    for seed in range(6):
        vector = torch.randn(1, 384, generator=torch.Generator().manual_seed(seed))
        for normalize in (True, False):
            result = evaluate_ranking(
                query_features=vector.repeat(num_queries, 1),
                gallery_features=vector.repeat(101, 1),
                query_identities=[1] * num_queries,
                gallery_identities=[0] * 100 + [1],
                normalize=normalize,
            )
            assert set(result.first_ranks) == {101}


@pytest.mark.parametrize("memory_limit", [12_000, 60_000, 1 << 30])
def test_copies_among_other_pictures_tie_in_blocks_of_any_size(memory_limit: int) -> None:
    generator = np.random.default_rng(5)
    originals = generator.normal(size=(27, 64)).astype(np.float32)
    sides = {
        "query_features": generator.normal(size=(20, 64)).astype(np.float32),
        "gallery_features": originals[generator.integers(27, size=81)],
        "query_identities": generator.integers(5, size=20),
        "gallery_identities": generator.integers(5, size=81),
    }
    found = evaluate(sides, memory_limit=memory_limit)
    assert_equal(found, rank_slowly(**sides))


def test_features_far_from_the_origin_are_as_well_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(10, 16, generator=generator)
    identities = torch.arange(200) % 10
    features = centers[identities] + 0.05 * torch.randn(200, 16, generator=generator)
    for offset in (0.0, 3000.0):
        sides = {
            "query_features": features[:20] + offset,
            "gallery_features": features[20:] + offset,
            "query_identities": identities[:20],
            "gallery_identities": identities[20:],
        }
        assert evaluate_ranking(**sides, normalize=False).mean_ap == 1.0


def test_random_features_score_at_the_base_rate() -> None:
    generator = torch.Generator().manual_seed(0)
    identities = torch.arange(2000) % 100  # 20 of 2,000 are right
    result = evaluate_ranking(
        query_features=torch.randn(500, 32, generator=generator),
        gallery_features=torch.randn(2000, 32, generator=generator),
        query_identities=torch.arange(500) % 100,
        gallery_identities=identities,
    )
    assert result.cmc[0] == pytest.approx(0.01, abs=0.015)
    assert result.mean_ap == pytest.approx(0.013, abs=0.004)


def test_scaling_changes_nothing_while_normalised() -> None:
    sides = make_sides()
    scaled = sides | {"gallery_features": sides["gallery_features"] * 1024}
    np.testing.assert_array_equal(
        evaluate_ranking(**sides).average_precisions, evaluate_ranking(**scaled).average_precisions
    )


@pytest.mark.parametrize("memory_limit", [1_500, 2_500, 10_000, 1 << 30])
def test_blocks_of_any_size_give_the_same(memory_limit: int) -> None:
    done: list[tuple[int, int]] = []
    result = evaluate_ranking(
        **make_sides(),
        memory_limit=memory_limit,
        on_progress=lambda number, total: done.append((number, total)),
    )
    whole = evaluate_ranking(**make_sides())
    np.testing.assert_array_equal(result.first_ranks, whole.first_ranks)
    assert done[-1] == (18, 18) and [number for number, _ in done] == sorted(
        {number for number, _ in done}
    )
    if memory_limit <= 2_500:
        assert len(done) > 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts the peak")
@pytest.mark.parametrize("num_gallery", [20_000, 60_000])
def test_what_it_takes_beside_the_features_is_below_the_limit(num_gallery: int) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (
        torch.randn(count, 512, generator=generator) for count in (100, num_gallery)
    )
    identities = np.arange(num_gallery) % 1000
    cameras = np.arange(num_gallery) % 7
    peaks = []
    for _ in range(3):  # the second time the heap is another
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before = read_peak_bytes()
        evaluate_ranking(
            query_features=queries,
            gallery_features=gallery,
            query_identities=identities[:100],
            gallery_identities=identities,
            query_cameras=cameras[:100],
            gallery_cameras=cameras,
            memory_limit=16 << 20,
        )
        peaks.append(read_peak_bytes() - before)
    # The interpreter and torch's threads may take a little for themselves.
    assert max(peaks) < 24 << 20


def read_peak_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_other_widths_are_compared_in_float32(dtype: torch.dtype) -> None:
    sides = make_sides()
    for side in ("query", "gallery"):
        # Halves, so that nothing is lost in any of the types.
        sides[f"{side}_features"] = (sides[f"{side}_features"] * 2).round() / 2
    cast = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in sides.items()}
    assert evaluate_ranking(**cast).mean_ap == evaluate_ranking(**sides).mean_ap


def test_without_cameras_nothing_is_left_out() -> None:
    sides = make_sides()
    cameras = {name: sides.pop(name) for name in ("query_cameras", "gallery_cameras")}
    expected = rank_slowly(**{k: np.asarray(v).tolist() for k, v in sides.items()})
    assert_equal(evaluate_ranking(**sides), expected)
    unknown = {name: [None] * len(value) for name, value in cameras.items()}
    assert_equal(evaluate_ranking(**sides, **unknown), expected)


def test_a_camera_that_is_missing_for_some_is_equal_to_no_other() -> None:
    sides = make_sides()
    cameras = [float("nan") if i % 2 else c for i, c in enumerate(sides["gallery_cameras"])]
    slow = {k: np.asarray(v).tolist() for k, v in sides.items()}
    slow["gallery_cameras"] = [-1 if math.isnan(c) else c for c in cameras]
    sides["gallery_cameras"] = cameras
    assert_equal(evaluate_ranking(**sides), rank_slowly(**slow))


@pytest.mark.parametrize(
    "names",
    [
        [f"person {i:04d}" for i in range(6)],
        [-5, -4, 0, 3, 2**62, 2**62 + 1],
        [2**63 + i for i in range(6)],
    ],
)
def test_identities_may_be_texts_negative_or_huge(names: list[Any]) -> None:
    sides = make_sides()
    named = dict(sides)
    for side in ("query", "gallery"):
        named[f"{side}_identities"] = [names[i] for i in sides[f"{side}_identities"]]
    assert evaluate_ranking(**named).mean_ap == evaluate_ranking(**sides).mean_ap


def test_queries_of_one_camera_with_the_gallery_are_invalid_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sides = make_sides()
    sides["query_cameras"] = sides["gallery_cameras"] = np.zeros(18, dtype=int)
    result = evaluate_ranking(**sides)
    assert (result.num_valid_queries, result.num_invalid_queries) == (0, 18)
    assert math.isnan(result.mean_ap) and np.isnan(result.cmc).all()
    assert caplog.messages == [
        "18 of 18 queries have no match to be found and are in no score: 18 whose identity the "
        "gallery shows to the query's own camera only; so there is no score"
    ]


def test_a_query_that_the_gallery_lacks_is_invalid_and_the_others_score() -> None:
    sides = make_sides()
    sides["query_identities"] = np.where(np.arange(18) < 2, 77, sides["query_identities"])
    result = evaluate_ranking(**sides)
    assert (result.num_valid_queries, result.num_without_identity) == (16, 2)
    assert np.isnan(result.average_precisions[:2]).all() and not result.first_ranks[:2].any()
    assert "2 of an identity that the gallery lacks" in describe_invalid(result)


def test_a_short_gallery_leaves_the_curve_flat() -> None:
    result = evaluate(
        {
            "query_features": [[1.0, 0.0], [0.0, 1.0]],
            "gallery_features": [[1.0, 0.0], [0.9, 0.1]],
            "query_identities": [1, 2],
            "gallery_identities": [1, 2],
        },
        max_rank=5,
    )
    assert result.cmc.tolist() == [1, 1, 1, 1, 1]
    assert compute_cmc(np.array([3]), max_rank=2).tolist() == [0, 0]


BAD = [
    ({"query_features": torch.full((18, 16), torch.nan)}, "query features: .* 18 pictures are NaN"),
    (
        {"gallery_features": torch.cat([torch.ones(17, 16), torch.full((1, 16), torch.inf)])},
        "gallery features: .* 1 pictures are NaN or infinite, at positions 17",
    ),
    (
        {"gallery_features": torch.cat([torch.ones(17, 16), torch.zeros(1, 16)])},
        "1 pictures are all zeros.* at positions 17",
    ),
    ({"gallery_features": torch.ones(18, 8)}, "one width on both sides; got 16 .* and 8"),
    ({"gallery_features": torch.ones(17, 16)}, "gallery identities: expected 17.*; got 18"),
    ({"query_features": torch.ones(0, 16)}, "query features: expected at least one picture"),
    ({"max_rank": 0}, "max_rank: expected a whole number of at least 1; got 0"),
    ({"query_identities": [[1]] * 18}, "query identities: expected one number or text a picture"),
    ({"query_features": torch.ones(18)}, r"expected a matrix of floats.* shape \(18,\)"),
    ({"query_features": torch.ones(18, 16).long()}, "expected a matrix of floats.*int64"),
    ({"query_cameras": None}, "for both sides or for none; the query side has none"),
    ({"query_cameras": [1, 2]}, "query cameras: expected 18.*; got 2"),
    ({"query_identities": [None] * 18}, "query identities: expected one a picture; position 0"),
    ({"query_identities": ["7"] * 18}, "one kind on both sides.* texts for the queries"),
    ({"memory_limit": 100}, "memory_limit: expected at least 1396 bytes for a gallery of 18"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_cannot_be_ranked_is_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        evaluate_ranking(**(make_sides() | change))
    assert "\n" not in str(caught.value)


def test_what_these_tests_own_check_of_types_would_stop_is_one_sentence_too() -> None:
    with pytest.raises(ValueError, match="ap: expected rectangle or trapezoid; got 'Trapezoid'"):
        check_options("Trapezoid", 5)
    with pytest.raises(ValueError, match="max_rank: expected a whole number .*; got 2.5"):
        check_options("rectangle", 2.5)
    with pytest.raises(ValueError, match="query features: expected a torch tensor; got ndarray"):
        check_features(np.ones((18, 16)), side="query", must_have_length=True)


def test_features_on_a_graph_are_ranked_too() -> None:
    sides = make_sides()
    expected = evaluate_ranking(**sides).mean_ap
    sides |= {name: sides[name].requires_grad_() for name in sides if name.endswith("features")}
    assert evaluate_ranking(**sides).mean_ap == expected


def test_texts_of_minus_one_are_junk_and_an_unknown_camera() -> None:
    def rank(turn: Any) -> Any:
        return evaluate(
            {
                "query_features": [[1.0, 0.0], [0.0, 1.0]],
                "gallery_features": [[1.0, 0.0], [0.9, 0.1], [0.1, 0.9]],
                "query_identities": [turn(1), turn(2)],
                "gallery_identities": [turn(-1), turn(1), turn(2)],
                "query_cameras": [turn(-1), turn(3)],
                "gallery_cameras": [turn(3), turn(-1), turn(-1)],
            }
        )

    assert rank(str).first_ranks.tolist() == rank(int).first_ranks.tolist() == [1, 1]


def test_large_cameras_beside_unknown_ones_keep_their_numbers() -> None:
    result = evaluate(
        {
            "query_features": [[1.0, 0.0]],
            "gallery_features": [[1.0, 0.0], [0.9, 0.1], [0.1, 0.9]],
            "query_identities": [1],
            "gallery_identities": [1, 2, 3],
            "query_cameras": [2**53],
            "gallery_cameras": [2**53 + 1, 2, None],
        }
    )
    assert result.num_valid_queries == 1


def test_distances_beyond_float32_are_refused() -> None:
    sides = make_sides()
    sides["gallery_features"] = sides["gallery_features"] * 1e30
    with pytest.raises(ValueError, match="distances fit float32"):
        evaluate_ranking(**sides, normalize=False)
    assert evaluate_ranking(**sides).num_valid_queries == 18
