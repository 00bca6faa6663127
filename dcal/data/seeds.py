"""One seed for each purpose, epoch and picture: nothing depends on order or workers (ours)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a seed is for; two purposes never share their numbers."""

    ORDER = 0
    AUGMENTATION = 1
    DISTRACTOR_CHOICE = 2
    DISTRACTOR_AUGMENTATION = 3


def combine_seeds(
    seed: int, stream: Stream, *, epoch: int, index: int = 0
) -> np.random.SeedSequence:
    """Return the seed sequence of one purpose at one epoch and picture."""
    # A spawn key, because plain entropy is padded with zeros: [1] and [1, 0] would be one seed.
    return np.random.SeedSequence(seed, spawn_key=(stream, epoch, index))


@contextmanager
def seeded_torch(sequence: np.random.SeedSequence) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and put its state back afterwards.

    Not `torch.manual_seed`, which would also reseed the GPU generators that the model draws from.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    try:
        yield
    finally:
        torch.set_rng_state(state)
