"""Seeds of different purposes never meet."""

from __future__ import annotations

import itertools

import torch

from dcal.data.seeds import Stream, combine_seeds, seeded_torch


def test_every_purpose_epoch_and_picture_has_its_own_seed() -> None:
    states = {
        tuple(combine_seeds(seed, stream, epoch=epoch, index=index).generate_state(4))
        for seed, stream, epoch, index in itertools.product(
            (0, 1, 2**32, 2**40), Stream, range(3), range(3)
        )
    }
    assert len(states) == 4 * len(Stream) * 9


def test_the_global_generator_is_as_it_was_even_after_an_error() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    inside = []
    for _ in range(2):
        try:
            with seeded_torch(combine_seeds(0, Stream.AUGMENTATION, epoch=0)):
                inside.append(torch.rand(3))
                raise KeyError
        except KeyError:
            pass
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(inside[0], inside[1])
    assert not torch.equal(inside[0], expected)
