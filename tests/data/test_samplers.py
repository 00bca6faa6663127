"""The order of pictures is a function of (seed, epoch, rank)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader, TensorDataset

from dcal.data.samplers import EpochBatchSampler


def _make_sampler(num_images: int = 23, **changes: Any) -> EpochBatchSampler:
    keys: dict[str, Any] = {"batch_size": 4, "seed": 0, "shuffle": True}
    return EpochBatchSampler(num_images, **{**keys, **changes})


def _order(sampler: EpochBatchSampler, *, epoch: int = 0) -> list[int]:
    sampler.set_epoch(epoch)
    keys = [key for batch in sampler for key in batch]
    assert {key[0] for key in keys} == {epoch}
    return [key[1] for key in keys]


@given(
    num_images=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 3),
    shuffle=st.booleans(),
)
def test_processes_share_the_pictures_without_overlap(
    num_images: int, batch_size: int, world_size: int, shuffle: bool
) -> None:
    if shuffle and num_images < batch_size * world_size:
        return
    seen: list[int] = []
    for rank in range(world_size):
        sampler = _make_sampler(
            num_images, batch_size=batch_size, shuffle=shuffle, rank=rank, world_size=world_size
        )
        batches = list(sampler)
        assert len(batches) == len(sampler)
        if shuffle:
            assert {len(batch) for batch in batches} == {batch_size}
        seen += [index for batch in batches for _, index in batch]
    assert len(set(seen)) == len(seen)
    global_batch = batch_size * world_size
    expected = num_images // global_batch * global_batch if shuffle else num_images
    assert len(seen) == expected


def test_global_batches_hold_the_same_pictures_for_any_number_of_processes() -> None:
    alone = list(_make_sampler(24, batch_size=8))
    halves = [list(_make_sampler(24, rank=rank, world_size=2)) for rank in (0, 1)]
    for whole, first, second in zip(alone, *halves, strict=True):
        assert set(whole) == set(first) | set(second)


def test_order_is_of_seed_and_epoch_and_zero_is_a_seed() -> None:
    orders = {
        (seed, epoch): tuple(_order(_make_sampler(seed=seed), epoch=epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert _order(_make_sampler(seed=0), epoch=2) == list(orders[0, 2])


def test_scoring_takes_every_picture_in_order() -> None:
    sampler = _make_sampler(10, shuffle=False)
    assert [len(batch) for batch in sampler] == [4, 4, 2]
    assert _order(sampler, epoch=5) == list(range(10))


def test_lightning_tells_the_sampler_the_epoch() -> None:
    sampler = _make_sampler()
    _set_sampler_epoch(DataLoader(TensorDataset(torch.arange(23)), batch_sampler=sampler), 7)
    assert next(iter(sampler))[0][0] == 7


def test_a_split_smaller_than_a_batch_is_an_error_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"the 3 pictures of the train split; got 4\. Lower it"):
        _make_sampler(3)
    with pytest.raises(ValueError, match="the 7 pictures .* got 4 in each of 2 processes"):
        _make_sampler(7, world_size=2)
    assert len(_make_sampler(3, shuffle=False)) == 1
