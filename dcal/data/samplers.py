"""Which pictures make a batch: a function of (seed, epoch, rank) and nothing else (ours)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from dcal.data.seeds import Stream, combine_seeds

Key = tuple[int, int]  # (epoch, position in the split)


class EpochBatchSampler(Sampler[list[Key]]):
    """Yield batches of (epoch, index) keys.

    The epoch rides in the key, so that workers which outlive an epoch know it. In training
    (`shuffle`) the order is new in every epoch and an incomplete last batch is dropped; otherwise
    the order is the split's own and nothing is dropped. With several processes each takes every
    `world_size`-th picture of a global batch.

    `resume_at` makes the next iteration begin inside an epoch, with the batches that an
    uninterrupted run would have had there.
    """

    def __init__(
        self,
        num_images: int,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        global_batch = batch_size * world_size
        if shuffle and num_images < global_batch:
            of_processes = f" in each of {world_size} processes" if world_size > 1 else ""
            raise ValueError(
                f"train.batch_size: expected at most the {num_images} pictures of the train split; "
                f"got {batch_size}{of_processes}. Lower it, or give more pictures"
            )
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._num_skipped = 0

    @property
    def sampler(self) -> EpochBatchSampler:
        """Return itself: this is where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order that the next iteration takes."""
        self.epoch = epoch

    def resume_at(self, epoch: int, *, num_batches: int) -> None:
        """Choose the epoch of the next iteration, which leaves out its first batches."""
        self.epoch, self._num_skipped = epoch, num_batches

    def __len__(self) -> int:
        global_batch = self.batch_size * self.world_size
        if self.shuffle:
            return self.num_images // global_batch
        return -(-self.num_images // global_batch)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.num_images)
        if self.shuffle:
            sequence = combine_seeds(self.seed, Stream.ORDER, epoch=self.epoch)
            order = np.random.default_rng(sequence).permutation(self.num_images)
        epoch, global_batch = self.epoch, self.batch_size * self.world_size
        first, self._num_skipped = self._num_skipped, 0
        for start in range(first * global_batch, len(self) * global_batch, global_batch):
            mine = order[start : start + global_batch][self.rank :: self.world_size]
            yield [(epoch, int(index)) for index in mine]
