"""The order of pictures is a function of (seed, epoch, rank)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader, TensorDataset

from dcal.data.samplers import EpochBatchSampler, IdentityBatchSampler


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
    share=st.integers(1, 9),
    world_size=st.integers(1, 3),
    shuffle=st.booleans(),
)
def test_processes_share_the_pictures_without_overlap(
    num_images: int, share: int, world_size: int, shuffle: bool
) -> None:
    batch_size = share * world_size
    if shuffle and num_images < batch_size:
        return
    seen: list[int] = []
    for rank in range(world_size):
        sampler = _make_sampler(
            num_images, batch_size=batch_size, shuffle=shuffle, rank=rank, world_size=world_size
        )
        batches = list(sampler)
        assert len(batches) == len(sampler)
        if shuffle:
            assert {len(batch) for batch in batches} == {share}
        seen += [index for batch in batches for _, index in batch]
    assert len(set(seen)) == len(seen)
    expected = num_images // batch_size * batch_size if shuffle else num_images
    assert len(seen) == expected


def test_batches_hold_the_same_pictures_for_any_number_of_processes() -> None:
    alone = list(_make_sampler(24))
    halves = [list(_make_sampler(24, rank=rank, world_size=2)) for rank in (0, 1)]
    for whole, first, second in zip(alone, *halves, strict=True):
        assert set(whole) == set(first) | set(second)
    labels = np.repeat(np.arange(9), 6)
    keys: dict[str, Any] = {"batch_size": 8, "images_per_identity": 2, "seed": 0}
    alone = list(IdentityBatchSampler(labels, **keys))
    halves = [list(IdentityBatchSampler(labels, rank=r, world_size=2, **keys)) for r in (0, 1)]
    assert alone == [first + second for first, second in zip(*halves, strict=True)]


@given(num_images=st.integers(1, 30), world_size=st.integers(1, 4))
def test_scored_batches_are_those_of_one_process_dealt_out_whole(
    num_images: int, world_size: int
) -> None:
    alone = list(_make_sampler(num_images, batch_size=12, shuffle=False))
    hands = [
        list(
            _make_sampler(
                num_images, batch_size=12, shuffle=False, rank=rank, world_size=world_size
            )
        )
        for rank in range(world_size)
    ]
    dealt = [batch for turn in zip(*hands, strict=True) for batch in turn]
    assert dealt == alone + [[]] * (len(dealt) - len(alone))
    assert len(dealt) - len(alone) < world_size


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
    with pytest.raises(ValueError, match=r"the 3 pictures .* got 4\. Lower"):
        _make_sampler(3, world_size=2)
    assert len(_make_sampler(3, shuffle=False)) == 1


def draw_identities(sampler: IdentityBatchSampler, labels: Any, *, epoch: int = 0) -> np.ndarray:
    """Return (batches, P, K) labels of an epoch."""
    sampler.set_epoch(epoch)
    size = sampler.images_per_identity
    batches = [[labels[index] for _, index in batch] for batch in sampler]
    return np.array(batches).reshape(len(batches), -1, size)


@given(
    sizes=st.lists(st.integers(1, 14), min_size=2, max_size=20),
    images_per_identity=st.integers(1, 5),
    identities_per_batch=st.integers(2, 5),
    world_size=st.integers(1, 2),
    epoch=st.integers(0, 3),
)
def test_each_batch_has_p_identities_with_k_pictures_each(
    sizes: list[int],
    images_per_identity: int,
    identities_per_batch: int,
    world_size: int,
    epoch: int,
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    keys: dict[str, Any] = {
        "batch_size": images_per_identity * identities_per_batch * world_size,
        "images_per_identity": images_per_identity,
        "seed": 0,
        "world_size": world_size,
    }
    if len(sizes) < identities_per_batch * world_size:
        with pytest.raises(ValueError, match="the train split has"):
            IdentityBatchSampler(labels, **keys)
        return
    samplers = [IdentityBatchSampler(labels, rank=rank, **keys) for rank in range(world_size)]
    drawn = [draw_identities(sampler, labels, epoch=epoch) for sampler in samplers]
    everything = np.concatenate(drawn, axis=1)  # (batches, P of all processes, K)
    assert everything.shape == (
        len(samplers[0]),
        identities_per_batch * world_size,
        images_per_identity,
    )
    assert (everything == everything[..., :1]).all()
    for batch in everything[..., 0]:
        assert len(set(batch)) == len(batch)
    # TransReID's length: whole groups of each identity, at least one, while enough of them differ.
    groups = np.maximum(np.array(sizes) // images_per_identity, 1)
    num_batches = len(samplers[0])
    needed = identities_per_batch * world_size
    assert np.minimum(groups, num_batches).sum() >= needed * num_batches
    assert np.minimum(groups, num_batches + 1).sum() < needed * (num_batches + 1)


def test_no_picture_is_twice_in_a_batch_where_there_are_enough() -> None:
    labels = np.repeat(np.arange(6), [4, 5, 9, 8, 4, 7])
    sampler = IdentityBatchSampler(labels, batch_size=8, images_per_identity=4, seed=0)
    seen = [index for batch in sampler for _, index in batch]
    assert len(set(seen)) == len(seen)
    few = IdentityBatchSampler([0, 0, 0, 1, 1, 1, 1], batch_size=8, images_per_identity=4, seed=0)
    (batch,) = list(few)
    positions = [index for _, index in batch]
    assert set(positions) == set(range(7)) and len(positions) == 8


def test_every_identity_and_picture_comes_with_the_epochs() -> None:
    labels = np.repeat(np.arange(7), 6)
    sampler = IdentityBatchSampler(labels, batch_size=12, images_per_identity=4, seed=3)
    seen: set[int] = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        seen |= {index for batch in sampler for _, index in batch}
    assert seen == set(range(42))


def test_batches_by_identity_are_of_seed_and_epoch_alone_and_go_on_inside_an_epoch() -> None:
    labels = np.repeat(np.arange(9), 8)

    def create(seed: int = 0) -> IdentityBatchSampler:
        return IdentityBatchSampler(labels, batch_size=12, images_per_identity=4, seed=seed)

    sampler = create()
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[0] == list(create()) != list(create(seed=1))
    assert [i for b in epochs[0] for _, i in b] != [i for b in epochs[1] for _, i in b]
    late = create()
    late.resume_at(1, num_batches=2)
    assert list(late) == epochs[1][2:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 10}, "a multiple of train.images_per_identity, which is 4; got 10"),
        (
            {"batch_size": 16},
            "16 pictures of 4 an identity are 4 identities; the train split has 3 identities with "
            "12 pictures",
        ),
        ({"batch_size": 16, "world_size": 2}, "are 4 identities; the train split has 3"),
    ],
)
def test_too_few_identities_are_one_error_with_the_numbers(
    changes: dict[str, Any], message: str
) -> None:
    keys: dict[str, Any] = {"images_per_identity": 4, "seed": 0, **changes}
    with pytest.raises(ValueError, match=message):
        IdentityBatchSampler(np.repeat(np.arange(3), 4), **keys)
