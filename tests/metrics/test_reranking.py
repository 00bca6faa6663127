"""Re-ranking against the golden block and a slow oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dcal.metrics.ranking import evaluate_ranking
from dcal.metrics.reranking import Reranking, RerankingOptions, bound_bytes, find_nearest
from tests.metrics.slow_reranking import rerank_slowly
from tests.metrics.test_ranking import make_sides

QUERIES = [(0.03, 0.11), (1.07, -0.05), (0.21, 2.02)]
GALLERY = [
    (0.13, 0.02),
    (0.88, 0.23),
    (0.17, 1.89),
    (1.52, 1.46),
    (-0.47, 0.31),
    (1.16, -0.12),
    (2.05, 1.93),
    (0.55, 1.04),
]
GOLDEN = [
    [0.000734, 0.319513, 0.829369, 0.864049, 0.235643, 0.485157, 1.000000, 0.572647],
    [0.484244, 0.224663, 0.973078, 0.848230, 0.693294, 0.000776, 0.991420, 0.557816],
    [0.919244, 0.899905, 0.001012, 0.680224, 0.885321, 1.000000, 0.754867, 0.534486],
]


def join(blocks: Any) -> NDArray[np.float32]:
    return np.concatenate([block.numpy().copy() for _, block in blocks])


def test_the_golden_block() -> None:
    sides = torch.tensor(QUERIES), torch.tensor(GALLERY)
    found = join(Reranking(*sides, RerankingOptions(k1=4, k2=2), normalize=False))
    np.testing.assert_allclose(found, GOLDEN, rtol=0, atol=1e-6)
    slow = rerank_slowly(np.array(QUERIES), np.array(GALLERY), k1=4, k2=2, distance_weight=0.3)
    np.testing.assert_allclose(slow, GOLDEN, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("k1", "k2", "distance_weight"),
    [(20, 6, 0.3), (5, 1, 0.0), (7, 3, 1.0), (1, 2, 0.5), (69, 12, 0.3)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_distances_are_those_of_the_oracle(
    k1: int, k2: int, distance_weight: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(8, 12))
    features = centers[generator.integers(8, size=70)] + generator.normal(size=(70, 12))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    options: dict[str, Any] = {"k1": k1, "k2": k2, "distance_weight": distance_weight}
    queries, gallery = torch.from_numpy(features[:20]), torch.from_numpy(features[20:])
    expected = rerank_slowly(features[:20], features[20:], **options)
    found = join(Reranking(queries, gallery, RerankingOptions(**options)))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    # Of any length, because they are normalised.
    scaled = Reranking(queries * 3, gallery * 0.5, RerankingOptions(**options))
    np.testing.assert_allclose(join(scaled), expected, atol=2e-6)


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = make_sides(num_identities=20)
    whole = join(Reranking(sides["query_features"], sides["gallery_features"]))
    monkeypatch.setattr("dcal.metrics.distances.MAX_BLOCK_QUERIES", 7)
    monkeypatch.setattr("dcal.metrics.reranking._PAIRS_AT_ONCE", 13)
    done: list[tuple[int, int]] = []
    parts = Reranking(
        sides["query_features"],
        sides["gallery_features"],
        on_progress=lambda number, total: done.append((number, total)),
    )
    np.testing.assert_allclose(join(parts), whole, atol=1e-6)
    assert done[-1] == (120, 120) and len(done) == 18


def test_reranked_scores_stand_beside_the_plain_ones() -> None:
    sides = make_sides(num_identities=20)
    result = evaluate_ranking(**sides, rerank=RerankingOptions())
    assert result.reranked is not None
    assert result.reranked.num_valid_queries == result.num_valid_queries == 60
    assert result.reranked.mean_ap > result.mean_ap == evaluate_ranking(**sides).mean_ap


def test_junk_takes_no_part() -> None:
    sides = make_sides(num_identities=20)
    plain = evaluate_ranking(**sides, rerank=RerankingOptions())
    order = np.random.default_rng(0).permutation(120)
    more = dict(sides)
    for name in ("features", "identities", "cameras"):
        join = torch.cat if name == "features" else np.concatenate
        doubled = join([sides[f"gallery_{name}"], sides[f"gallery_{name}"]])
        if name == "identities":
            doubled = np.where(np.arange(120) < 60, doubled, -1)
        more[f"gallery_{name}"] = doubled[order]
    found = evaluate_ranking(**more, rerank=RerankingOptions())
    assert found.reranked is not None and plain.reranked is not None
    assert found.reranked.mean_ap == pytest.approx(plain.reranked.mean_ap, abs=1e-9)


def test_equal_pictures_are_no_trouble() -> None:
    same = torch.ones(30, 4)
    assert np.isfinite(join(Reranking(same[:10], same[10:]))).all()


@pytest.mark.parametrize("size", [1, 3, 9, 10, 20])
def test_the_nearest_are_those_of_a_stable_sort(size: int) -> None:
    distances = np.array([2, 1, 2, 0, 1, 1, 2, 3, 0, 1], dtype=np.float32)
    expected = np.argsort(distances, kind="stable")[:size]
    np.testing.assert_array_equal(find_nearest(distances, size), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 36}, "k1: expected 1 to 35, one less than there are pictures; got 36"),
        ({"k1": 0}, "k1: expected 1 to 35"),
        ({"k2": 22}, "k2: expected 1 to k1 . 1, which is 21; got 22"),
        ({"distance_weight": 1.5}, "distance_weight: expected 0 to 1; got 1.5"),
        ({"memory_limit": 1000}, "takes up to [0-9]+ bytes with k1=20 and k2=6; memory_limit is"),
    ],
)
def test_options_out_of_range_are_one_sentence(options: dict[str, Any], message: str) -> None:
    sides = make_sides()
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(**sides, rerank=RerankingOptions(**options))


def test_the_bound_at_the_size_of_market_1501() -> None:
    assert bound_bytes(3368 + 15913, 1536, RerankingOptions()) < 3e9
