"""Which image of a batch distracts which (DCAL, PWCA; the seeding is ours).

A pairing is a function of (seed, step) and, for `other`, of the labels: never of the order in
which a sampler happened to deliver the images' classes.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

_PAIRING_STREAM = 0x70776361  # keeps these draws apart from every other use of (seed, step)


def draw_pairing(
    batch_size: int, *, seed: int, step: int, labels: Tensor | None = None, rank: int = 0
) -> Int[Tensor, "batch"]:
    """Draw for each image the index of its distractor; no image distracts itself.

    Without labels it is a derangement, uniform over all derangements. With labels (`other`) each
    image gets one of another class where the batch holds one: still a permutation as long as no
    class fills more than half of the batch; past that some distractors serve several images.

    `rank` is that of the process whose share of a batch is paired; each draws anew.

    Raises:
        ValueError: Fewer than two images.
    """
    if batch_size < 2:
        raise ValueError(f"PWCA: expected at least 2 images to pair; got {batch_size}")
    spawn_key = (rank,) if rank else ()
    sequence = np.random.SeedSequence([_PAIRING_STREAM, seed, step], spawn_key=spawn_key)
    generator = np.random.default_rng(sequence)
    if labels is None:
        return torch.from_numpy(_draw_derangement(generator, batch_size))
    return torch.from_numpy(_draw_other_class(generator, labels.cpu().numpy()))


def _draw_derangement(generator: np.random.Generator, size: int) -> np.ndarray:
    positions = np.arange(size)
    while True:  # accepted with probability about 1/e, so three draws on average
        permutation = generator.permutation(size)
        if not np.any(permutation == positions):
            return permutation


def _draw_other_class(generator: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    classes, ranks, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) == 1:
        return _draw_derangement(generator, len(labels))
    # Lined up class by class, a shift by the largest class leaves every class behind.
    class_order = generator.permutation(len(classes))
    line = np.lexsort((generator.random(len(labels)), class_order[ranks]))
    largest = int(counts.max())
    longest_shift = max(largest, len(labels) - largest)
    shift = int(generator.integers(largest, longest_shift + 1))
    distractors = np.empty_like(line)
    distractors[line] = np.roll(line, -shift)
    for image in np.flatnonzero(labels[distractors] == labels):
        distractors[image] = generator.choice(np.flatnonzero(labels != labels[image]))
    return distractors
