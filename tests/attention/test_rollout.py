from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal.attention import rollout
from dcal.attention.rollout import compute_class_row, compute_full_rollout
from tests.oracles import explicit_rollout, logsumexp_rollout


def draw_heads(num_blocks, *, batch=3, heads=2, tokens=9, width=4, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (num_blocks, 2, batch, heads, tokens, width)
    drawn = 2 * torch.randn(*shape, generator=generator, dtype=dtype)
    return [(block[0], block[1]) for block in drawn]


def as_callables(heads):
    return [lambda pair=pair: pair for pair in heads]


def attention_of(queries, keys, scale):
    return (queries @ keys.transpose(-2, -1) * scale).softmax(dim=-1)


@given(
    num_blocks=st.integers(1, 5),
    tokens=st.integers(2, 12),
    heads=st.integers(1, 3),
    scale=st.floats(0.1, 2.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_class_row_is_the_first_row_of_the_full_product(num_blocks, tokens, heads, scale, seed):
    pairs = draw_heads(num_blocks, tokens=tokens, heads=heads, seed=seed)
    expected = explicit_rollout([attention_of(*pair, scale) for pair in pairs])[:, 0]
    row = compute_class_row(as_callables(pairs), scale=scale)
    torch.testing.assert_close(row.double(), expected, rtol=1e-5, atol=1e-6)


def test_full_rollout_equals_the_explicit_product_and_its_rows_sum_to_one():
    maps = [attention_of(*pair, 0.5) for pair in draw_heads(4)]
    product = compute_full_rollout(maps)
    torch.testing.assert_close(product, explicit_rollout(maps))
    torch.testing.assert_close(product.sum(dim=-1), torch.ones(3, 9, dtype=torch.float64))


def test_class_row_sums_to_one_and_is_float32_even_from_bfloat16():
    pairs = draw_heads(3, dtype=torch.bfloat16)
    row = compute_class_row(as_callables(pairs), scale=0.5)
    assert row.dtype == torch.float32
    torch.testing.assert_close(row.sum(dim=1), torch.ones(3))


def test_class_row_under_autocast_is_the_same_as_without():
    pairs = draw_heads(3, dtype=torch.float32)
    plain = compute_class_row(as_callables(pairs), scale=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = compute_class_row(as_callables(pairs), scale=0.5)
    assert torch.equal(plain, mixed)


def test_a_batch_equals_its_images_one_by_one():
    pairs = draw_heads(3)
    whole = compute_class_row(as_callables(pairs), scale=0.5)
    for image in range(3):
        one = [(q[image : image + 1], k[image : image + 1]) for q, k in pairs]
        alone = compute_class_row(as_callables(one), scale=0.5)
        torch.testing.assert_close(alone[0], whole[image])


@pytest.mark.parametrize("tile_bytes", [1, 4 * 9, 4 * 9 * 4, 4 * 9 * 9 * 4, 2**20])
def test_tiles_of_any_size_give_the_same_row(tile_bytes):
    pairs, usual = draw_heads(4), rollout.TILE_BYTES
    expected = explicit_rollout([attention_of(*pair, 0.5) for pair in pairs])[:, 0]
    with rollout.tiling_by(tile_bytes):
        row = compute_class_row(as_callables(pairs), scale=0.5)
    assert rollout.TILE_BYTES == usual
    torch.testing.assert_close(row.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch, heads, tokens", [(1, 3, 785), (4, 3, 785), (64, 12, 129)])
def test_a_tile_of_attention_is_within_its_size_and_keeps_both_threads_busy(
    batch, heads, tokens, monkeypatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    pairs, rows = rollout._choose_tile(batch * heads, tokens)
    assert pairs * rows * tokens * 4 <= rollout.TILE_BYTES
    assert pairs % 2 == 0 or pairs == batch * heads


def test_many_threads_and_tokens_still_get_a_row_each(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert rollout._choose_tile(100, 10**6) == (64, 1)


@given(
    num_blocks=st.integers(1, 4),
    tokens=st.integers(2, 12),
    scale=st.floats(0.1, 2.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_the_log_sum_exp_form_is_the_same_row(num_blocks, tokens, scale, seed):
    pairs = draw_heads(num_blocks, tokens=tokens, seed=seed)
    expected = explicit_rollout([attention_of(*pair, scale) for pair in pairs])[:, 0]
    torch.testing.assert_close(logsumexp_rollout(pairs, scale), expected)
    row = compute_class_row(as_callables(pairs), scale=scale)
    torch.testing.assert_close(row.double(), expected, rtol=1e-5, atol=1e-6)


def test_rollout_has_no_gradient():
    pairs = [(q.requires_grad_(), k.requires_grad_()) for q, k in draw_heads(2)]
    assert not compute_class_row(as_callables(pairs), scale=0.5).requires_grad


def test_blocks_are_asked_newest_first_and_once():
    asked = []

    def block(number, pair):
        def give():
            asked.append(number)
            return pair

        return give

    pairs = draw_heads(3)
    compute_class_row([block(i, pair) for i, pair in enumerate(pairs)], scale=1.0)
    assert asked == [2, 1, 0]


@pytest.mark.parametrize(
    "function", [compute_full_rollout, lambda x: compute_class_row(x, scale=1.0)]
)
def test_no_blocks_is_an_error(function):
    with pytest.raises(ValueError, match="at least one block"):
        function([])
