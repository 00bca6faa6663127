"""The nearest pictures against a slow oracle, and consistent with the ranking's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcal.metrics.matches import find_matches
from dcal.metrics.nearest import NONE, compute_recall, find_nearest, measure_distances
from dcal.metrics.ranking import evaluate_ranking
from tests.metrics.slow_ranking import compute_distance


def find_slowly(queries, gallery, *, num, sides=None, rule="junk", normalize=True):
    """Sort every kept gallery picture by (distance, position), one query at a time."""
    rows = []
    for query, features in enumerate(queries):
        kept = []
        for position, other in enumerate(gallery):
            if sides is not None and is_left_out(sides, query, position, rule):
                continue
            distance = round(compute_distance(features, other, normalize), 4)
            kept.append((distance, position))
        found = sorted(kept)[:num]
        rows.append([position for _, position in found] + [NONE] * (num - len(found)))
    return rows


def is_left_out(sides, query, position, rule):
    identities, others, cameras, other_cameras = sides
    if others[position] == -1:
        return True
    if others[position] != identities[query]:
        return False
    return rule == "identity" or (cameras[query] >= 0 and cameras[query] == other_cameras[position])


def draw_sides(generator, num_queries, num_gallery):
    return (
        generator.integers(0, 3, num_queries).tolist(),
        generator.integers(-1, 3, num_gallery).tolist(),
        generator.integers(-1, 2, num_queries).tolist(),
        generator.integers(-1, 2, num_gallery).tolist(),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    num=st.integers(1, 12),
    rule=st.sampled_from(["none", "junk", "identity"]),
    normalize=st.booleans(),
    is_small=st.booleans(),
)
def test_the_nearest_are_those_of_the_slow_search(
    seed: int, num: int, rule: str, normalize: bool, is_small: bool
) -> None:
    generator = np.random.default_rng(seed)
    # Whole numbers of a small range, so that there are many ties.
    queries = generator.integers(-2, 3, (4, 3)) + np.array([0, 0, 5])
    gallery = generator.integers(-2, 3, (9, 3)) + np.array([0, 0, 5])
    sides = None if rule == "none" else draw_sides(generator, 4, 9)
    matches = (
        None
        if sides is None
        else find_matches(*sides, junk_identity=-1, num_queries=4, num_gallery=9)
    )
    wanted = "junk" if rule == "none" else rule
    nearest = find_nearest(
        torch.tensor(queries, dtype=torch.float32),
        torch.tensor(gallery, dtype=torch.float32),
        num=num,
        matches=matches,
        rule=wanted,
        normalize=normalize,
        memory_limit=90 * 9 + 4 * 12 + 1 if is_small else 1 << 30,
    )
    slow = find_slowly(
        queries.tolist(), gallery.tolist(), num=min(num, 9), sides=sides, rule=wanted,
        normalize=normalize,
    )  # fmt: skip
    found = measure(queries, gallery, nearest.positions, normalize)
    np.testing.assert_allclose(found, measure(queries, gallery, slow, normalize), atol=1e-4)
    np.testing.assert_allclose(nearest.distances, found, rtol=1e-5, atol=1e-6)
    if not normalize:  # then float32 holds these distances exactly, and so ties are ties
        assert nearest.positions.tolist() == slow


def measure(queries, gallery, positions, normalize):
    return [
        [
            compute_distance(queries[q].tolist(), gallery[p].tolist(), normalize)
            if p != NONE
            else np.nan
            for p in row
        ]
        for q, row in enumerate(positions)
    ]


def test_equal_distances_stand_in_gallery_order() -> None:
    nearest = find_nearest(torch.ones(2, 4), torch.ones(700, 4), num=5)
    assert nearest.positions.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert nearest.distances.tolist() == [[0.0] * 5] * 2


def test_ranks_are_those_that_the_scores_count() -> None:
    generator = torch.Generator().manual_seed(0)
    features = {
        "query_features": torch.randn(20, 8, generator=generator),
        "gallery_features": torch.randn(150, 8, generator=generator),
    }
    sides = draw_sides(np.random.default_rng(1), 20, 150)
    names = ("query_identities", "gallery_identities", "query_cameras", "gallery_cameras")
    result = evaluate_ranking(**features, **dict(zip(names, sides, strict=True)))
    matches = find_matches(*sides, junk_identity=-1, num_queries=20, num_gallery=150)
    nearest = find_nearest(*features.values(), num=150, matches=matches)
    for query, first_rank in enumerate(result.first_ranks):
        kept = nearest.positions[query][nearest.positions[query] != NONE]
        is_right = np.array(sides[1])[kept] == sides[0][query]
        assert np.flatnonzero(is_right)[0] + 1 == first_rank


def test_a_query_whose_gallery_is_left_out_has_no_answer() -> None:
    matches = find_matches([1], [1, 1], [0], [0, 0], junk_identity=-1, num_queries=1, num_gallery=2)
    nearest = find_nearest(torch.ones(1, 2), torch.ones(2, 2), num=2, matches=matches)
    assert nearest.positions.tolist() == [[NONE, NONE]]
    assert np.isnan(nearest.distances).all()


def test_progress_counts_the_queries() -> None:
    seen: list[tuple[int, int]] = []
    find_nearest(
        torch.randn(5, 3), torch.randn(4, 3), num=1, memory_limit=70 * 4 + 2 * 4 * 7,
        on_progress=lambda *counts: seen.append(counts),
    )  # fmt: skip
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num": 0}, "num: expected at least 1 picture for each query; got 0"),
        ({"queries": torch.full((1, 2), 2e38)}, "some are too large"),
        ({"queries": torch.tensor([[1.0, torch.nan]])}, "NaN or infinite, at positions 0"),
        ({"gallery": torch.empty(0, 2)}, "gallery features: expected at least one picture"),
    ],
)
def test_what_cannot_be_searched_is_one_error(changes, message: str) -> None:
    given_ = {"queries": torch.ones(1, 2), "gallery": torch.full((2, 2), 3.0), "num": 1, **changes}
    with pytest.raises(ValueError, match=message):
        find_nearest(given_["queries"], given_["gallery"], num=given_["num"], normalize=False)


def test_the_distance_of_a_picture_to_itself_is_exactly_zero() -> None:
    features = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    distances = measure_distances(features, features.clone(), np.arange(50)[:, None])
    assert not distances.any()


def test_recall_counts_what_was_found_whatever_its_order() -> None:
    exact = np.array([[0, 1, 2], [3, 4, NONE]])
    assert compute_recall(exact[:, ::-1], exact) == 1.0
    assert compute_recall(np.array([[2, 9, NONE], [3, 4, 5]]), exact) == 3 / 5
