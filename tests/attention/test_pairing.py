from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcal.attention.pairing import draw_pairing


@given(st.integers(2, 40), st.integers(0, 2**31), st.integers(0, 2**31))
def test_no_picture_distracts_itself_and_each_distracts_once(batch_size, seed, step):
    pairing = draw_pairing(batch_size, seed=seed, step=step).tolist()
    assert sorted(pairing) == list(range(batch_size))
    assert all(image != distractor for image, distractor in enumerate(pairing))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.integers(0, 100))
def test_other_gives_another_class_wherever_the_batch_holds_one(labels, step):
    pairing = draw_pairing(len(labels), seed=0, step=step, labels=torch.tensor(labels)).tolist()
    assert all(image != distractor for image, distractor in enumerate(pairing))
    if len(set(labels)) > 1:
        assert all(labels[image] != labels[distractor] for image, distractor in enumerate(pairing))
    if max(Counter(labels).values()) * 2 <= len(labels):
        assert sorted(pairing) == list(range(len(labels)))


def test_seed_and_step_decide_alone_and_zero_is_a_seed():
    first = draw_pairing(16, seed=0, step=0)
    assert torch.equal(first, draw_pairing(16, seed=0, step=0))
    assert not torch.equal(first, draw_pairing(16, seed=1, step=0))
    assert not torch.equal(first, draw_pairing(16, seed=0, step=1))
    torch.manual_seed(123)
    assert torch.equal(first, draw_pairing(16, seed=0, step=0))


def test_derangements_are_drawn_uniformly():
    counts = Counter(tuple(draw_pairing(4, seed=0, step=i).tolist()) for i in range(4500))
    assert len(counts) == 9  # all derangements of four
    assert all(380 < count < 620 for count in counts.values())


def test_one_picture_cannot_be_paired():
    with pytest.raises(ValueError, match="at least 2 images"):
        draw_pairing(1, seed=0, step=0)
