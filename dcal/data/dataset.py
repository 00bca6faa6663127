"""Pictures of one split as tensors, augmented by (seed, epoch, index) alone (ours)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dcal.data.cached import CachedPictures
from dcal.data.index import list_cuts
from dcal.data.samplers import Key
from dcal.data.seeds import Stream, combine_seeds, seeded_torch
from dcal.data.transforms import Transform

logger = logging.getLogger(__name__)

# Those that a batch may not hold, so that the loader has to supply them.
DistractorKind = Literal["same", "mixed", "noise"]


class Sides(NamedTuple):
    """The cameras and views of the train split, ascending; empty where there are none."""

    cameras: tuple[int, ...] = ()
    views: tuple[int, ...] = ()


NO_SIDES = Sides()


def list_sides(train: pd.DataFrame) -> Sides:
    """Return the cameras and views that the train split knows."""
    return Sides(
        *(
            tuple(sorted(int(number) for number in train[column].dropna().unique()))
            for column in ("camera", "view")
        )
    )


def find_places(numbers: pd.Series, known: Sequence[int]) -> NDArray[np.int64]:
    """Return the place of each number among the known ones; -1 = none."""
    places = {number: place for place, number in enumerate(known)}
    return np.array([-1 if n is pd.NA else places.get(int(n), -1) for n in numbers], dtype=np.int64)


class IndexDataset(Dataset[dict[str, Any]]):
    """One split of an index; keys are (epoch, position in the split).

    An item holds `image` (3, height, width), `label`, `row` (the picture's row in the index),
    `camera` and `view` (their place among those of training, -1 = not known or not among them) and,
    where a distractor kind is given, `distractor_image` of the same shape: `same` is another
    picture of the class, `mixed` is that or a picture of another class with equal chance, `noise`
    is standard normal after normalising. A picture never distracts itself: where a class has one
    picture only, another class gives the distractor, and a warning says for how many classes.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        *,
        root: Path,
        transform: Transform,
        seed: int,
        distractor: DistractorKind | None = None,
        sides: Sides = NO_SIDES,
        cache: CachedPictures | None = None,
    ) -> None:
        self.cache = cache  # of pictures that the transform's first step has been through
        self.root = root
        self.transform = transform
        self.seed = seed
        self.distractor = distractor
        # Not a list: each worker that reads one of its strings gets a copy of the page around it.
        self._paths = pa.array(table["path"])
        self._cuts = np.array(list_cuts(table), dtype=np.int64)
        self._labels = table["label"].to_numpy()
        self._rows = table.index.to_numpy()
        self._cameras = find_places(table["camera"], sides.cameras)
        self._views = find_places(table["view"], sides.views)
        if distractor in ("same", "mixed"):
            num_single = int((table["label"].value_counts() == 1).sum())
            if num_single:
                logger.warning(
                    "model.distractor %s: %d classes have one picture; their distractor is of "
                    "another class",
                    distractor,
                    num_single,
                )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """Read and augment one picture.

        Raises:
            FileNotFoundError: The file is gone since `prepare`.
            OSError: The file changed since `prepare` and cannot be decoded.
        """
        epoch, index = key
        image = self._load(index, self._seeds(Stream.AUGMENTATION, key))
        item: dict[str, Any] = {
            "image": image,
            "label": int(self._labels[index]),
            "row": int(self._rows[index]),
            "camera": int(self._cameras[index]),
            "view": int(self._views[index]),
        }
        if self.distractor is not None:
            item["distractor_image"] = self._load_distractor(key, like=image)
        return item

    def choose_distractor(self, key: Key) -> int:
        """Return the position in the split of the picture that distracts this one."""
        epoch, index = key
        generator = np.random.default_rng(self._seeds(Stream.DISTRACTOR_CHOICE, key))
        is_same = self._labels == self._labels[index]
        wants_same = self.distractor == "same" or generator.integers(2) == 0
        candidates = np.flatnonzero(is_same if wants_same else ~is_same)
        candidates = candidates[candidates != index]
        if not len(candidates):
            candidates = np.flatnonzero(~is_same)
        return int(generator.choice(candidates))

    def _load_distractor(self, key: Key, *, like: Tensor) -> Tensor:
        seeds = self._seeds(Stream.DISTRACTOR_AUGMENTATION, key)
        if self.distractor == "noise":
            with seeded_torch(seeds):
                return torch.randn_like(like)
        return self._load(self.choose_distractor(key), seeds)

    def _load(self, index: int, seeds: np.random.SeedSequence) -> Tensor:
        image = self._read(index)
        with seeded_torch(seeds):
            return self.transform(image)

    def _read(self, index: int) -> Image.Image:
        cached = None if self.cache is None else self.cache.read(int(self._rows[index]))
        if cached is not None:
            return cached
        path = self.root / self._paths[index].as_py()
        return self.transform.load(path, cut_bottom=int(self._cuts[index]))

    def _seeds(self, stream: Stream, key: Key) -> np.random.SeedSequence:
        epoch, index = key
        return combine_seeds(self.seed, stream, epoch=epoch, index=index)
