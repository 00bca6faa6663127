"""Batches of birds drawn on the fly: every picture is made for one step and never kept (ours)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dcal.data.synthetic import Combination, draw_bird


class DrawnBatch(NamedTuple):
    """Freshly drawn birds."""

    images: Tensor  # (B, 3, H, W), 8-bit
    masks: Tensor  # (B, H, W), part ids
    values: Tensor  # (B, 6), positions in PART_VALUES


class DrawnBatches(Dataset[DrawnBatch]):
    """Batch `i` is a function of the seed and `i`."""

    def __init__(
        self,
        combinations: list[Combination],
        *,
        num_batches: int,
        batch_size: int,
        image_size: tuple[int, int],
        seed: tuple[int, int],
    ) -> None:
        self._combinations = combinations
        self._num_batches, self._batch_size = num_batches, batch_size
        self._image_size = image_size
        self._seed = seed

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[DrawnBatch]:
        return (self[batch] for batch in range(self._num_batches))

    def __getitem__(self, batch: int) -> DrawnBatch:
        if not 0 <= batch < self._num_batches:
            raise IndexError(batch)
        drawing_seed = int(np.random.SeedSequence(self._seed).generate_state(1)[0])
        generator = np.random.default_rng(np.random.SeedSequence([*self._seed, batch]))
        rows = generator.integers(len(self._combinations), size=self._batch_size).tolist()
        chosen = [self._combinations[row] for row in rows]
        birds = [
            draw_bird(
                combination,
                seed=drawing_seed,
                index=batch * self._batch_size + position,
                image_size=self._image_size,
            )
            for position, combination in enumerate(chosen)
        ]
        images = torch.from_numpy(np.stack([bird.image for bird in birds]))  # (B, H, W, 3)
        masks = torch.from_numpy(np.stack([bird.mask for bird in birds]))
        return DrawnBatch(images.permute(0, 3, 1, 2), masks, torch.tensor(chosen))
