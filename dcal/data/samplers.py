"""Which pictures make a batch: a function of (seed, epoch, rank) and nothing else (ours)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from dcal.data.seeds import Stream, combine_seeds

Key = tuple[int, int]  # (epoch, position in the split)


class EpochSampler(Sampler[list[Key]]):
    """Yield batches of (epoch, index) keys; the base of those below.

    The epoch rides in the key, so that workers which outlive an epoch know it. With several
    processes `batch_size` is of all together, and each takes an equal share of every batch, the
    same one that a single process would have.

    `resume_at` makes the next iteration begin inside an epoch, with the batches that an
    uninterrupted run would have had there.
    """

    def __init__(self, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        assert batch_size % world_size == 0
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._num_skipped = 0

    @property
    def sampler(self) -> EpochSampler:
        """Return itself: this is where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order that the next iteration takes."""
        self.epoch = epoch

    def resume_at(self, epoch: int, *, num_batches: int) -> None:
        """Choose the epoch of the next iteration, which leaves out its first batches."""
        self.epoch, self._num_skipped = epoch, num_batches

    @abstractmethod
    def __len__(self) -> int:
        """Count the batches of an epoch, the same in each."""

    @abstractmethod
    def draw_batches(self, epoch: int) -> Sequence[NDArray[np.int64]]:
        """Return this process's batches of an epoch, as positions in the split."""

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        first, self._num_skipped = self._num_skipped, 0
        for batch in self.draw_batches(epoch)[first:]:
            yield [(epoch, int(index)) for index in batch]

    def _create_generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng(combine_seeds(self.seed, Stream.ORDER, epoch=epoch))


class EpochBatchSampler(EpochSampler):
    """Take the pictures in an order that is new in every epoch, or in the split's own.

    In training (`shuffle`) an incomplete last batch is dropped; with several processes each takes
    every `world_size`-th picture of a batch.

    Otherwise nothing is dropped, nor repeated: each process takes every `world_size`-th batch
    whole, so that a batch is computed as one process would, bit for bit. All have equally many;
    where there are none left, an empty one.
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
        super().__init__(batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)
        if shuffle and num_images < batch_size:
            raise ValueError(
                f"train.batch_size: expected at most the {num_images} pictures of the train split; "
                f"got {batch_size}. Lower it, or give more pictures"
            )
        self.num_images = num_images
        self.shuffle = shuffle

    def __len__(self) -> int:
        if self.shuffle:
            return self.num_images // self.batch_size
        num_batches = -(-self.num_images // self.batch_size)
        return -(-num_batches // self.world_size)

    def draw_batches(self, epoch: int) -> Sequence[NDArray[np.int64]]:
        """See the base class."""
        order = np.arange(self.num_images)
        if self.shuffle:
            order = self._create_generator(epoch).permutation(self.num_images)
            starts = range(0, len(self) * self.batch_size, self.batch_size)
            parts = [slice(start + self.rank, start + self.batch_size) for start in starts]
            return [order[part][:: self.world_size] for part in parts]
        starts = range(self.rank, len(self) * self.world_size, self.world_size)
        return [order[start * self.batch_size :][: self.batch_size] for start in starts]


class IdentityBatchSampler(EpochSampler):
    """Make batches of P different identities with K pictures each (paper: 16 x 4).

    An epoch has TransReID's length: each identity gives as many whole groups of K as it has
    pictures for, at least one, and groups make batches until too few identities are left. An
    identity with fewer than K pictures shows some of them twice. Which pictures share a group,
    which groups share a batch, and which are left out is new in every epoch.

    With several processes each takes an equal number of each batch's identities.
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[np.int64],
        *,
        batch_size: int,
        images_per_identity: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)
        self.images_per_identity = images_per_identity
        labels = np.asarray(labels)
        self._positions = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self.identities_per_batch = batch_size // images_per_identity
        if batch_size % images_per_identity:
            raise ValueError(
                f"train.batch_size: expected a multiple of train.images_per_identity, which is "
                f"{images_per_identity}; got {batch_size}"
            )
        if len(self._positions) < self.identities_per_batch:
            raise ValueError(
                f"train.batch_size: {batch_size} pictures of {images_per_identity} an identity "
                f"are {self.identities_per_batch} identities; the train split has "
                f"{len(self._positions)} identities with {len(labels)} pictures. "
                "Lower train.batch_size, raise train.images_per_identity, or give more identities"
            )
        sizes = np.array([len(positions) for positions in self._positions])
        groups = np.maximum(sizes // images_per_identity, 1)
        self._num_batches = _count_batches(groups, self.identities_per_batch)
        # More groups than there are batches would meet themselves.
        self._num_groups = np.minimum(groups, self._num_batches)

    def __len__(self) -> int:
        return self._num_batches

    def draw_batches(self, epoch: int) -> Sequence[NDArray[np.int64]]:
        """See the base class."""
        generator = self._create_generator(epoch)
        members: list[list[NDArray[np.int64]]] = [[] for _ in range(len(self))]
        room = np.full(len(self), self.identities_per_batch)
        for identity in generator.permutation(len(self._positions)):
            num_groups = self._num_groups[identity]
            # The emptiest batches, by chance among equals: so each can be filled to the last.
            chosen = np.lexsort((generator.random(len(room)), -room))[:num_groups]
            chosen = chosen[room[chosen] > 0]
            room[chosen] -= 1
            for batch, group in zip(chosen, self._draw_groups(identity, generator), strict=False):
                members[batch].append(group)
        share = self.identities_per_batch // self.world_size
        mine = slice(self.rank * share, (self.rank + 1) * share)
        return [np.concatenate(groups[mine]) for groups in members]

    def _draw_groups(self, identity: int, generator: np.random.Generator) -> NDArray[np.int64]:
        size = self.images_per_identity
        order = generator.permutation(self._positions[identity])
        if len(order) < size:
            order = np.tile(order, -(-size // len(order)))[:size]
        return order[: len(order) // size * size].reshape(-1, size)


def _count_batches(groups: NDArray[np.int64], identities_per_batch: int) -> int:
    """Return the most batches of so many different identities that the groups can fill."""
    num_batches = int(groups.sum()) // identities_per_batch
    while int(np.minimum(groups, num_batches).sum()) < identities_per_batch * num_batches:
        num_batches = int(np.minimum(groups, num_batches).sum()) // identities_per_batch
    return num_batches
