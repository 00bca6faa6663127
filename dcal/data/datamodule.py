"""The loaders of a run, built from its index and parameters (ours)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd
import torch
from torch.utils.data import DataLoader, default_collate

from dcal.config import Config, DatasetConfig
from dcal.data.cached import CachedPictures, open_cache
from dcal.data.dataset import DistractorKind, IndexDataset, Sides, list_sides
from dcal.data.identities import JUNK
from dcal.data.index import IndexReport, read_index
from dcal.data.raw import find_raw_root
from dcal.data.samplers import EpochBatchSampler, EpochSampler, IdentityBatchSampler
from dcal.data.transforms import Transform, build_test_transform, build_train_transform
from dcal.paths import index_folder

logger = logging.getLogger(__name__)

Loader = DataLoader[dict[str, Any]]


@dataclass(frozen=True)
class Pictures:
    """An index, its report, and the folder that its paths start from."""

    table: pd.DataFrame
    report: IndexReport
    root: Path
    cache: CachedPictures | None = None  # of all rows of the table, resized

    def select(self, split: str) -> pd.DataFrame:
        """Return one split's rows; the frame's index is the row in the whole table."""
        return self.table.loc[self.table["split"] == split]

    def select_ranked(self) -> pd.DataFrame:
        """Return the queries of a Re-ID set, then its gallery without what no ranking has."""
        table = pd.concat([self.select("query"), self.select("gallery")])
        return table.loc[table["identity"] != JUNK]

    def list_sides(self) -> Sides:
        """Return the cameras and views of the train split."""
        return list_sides(self.select("train"))


@dataclass(frozen=True)
class Loaders:
    """What a training run reads; `val` is None where nothing was held out.

    For Re-ID val holds identities of its own, and test the queries, then the gallery.
    """

    train: Loader
    val: Loader | None
    test: Loader
    table: pd.DataFrame  # the index, whose rows the loaders name


def open_pictures(dataset: DatasetConfig) -> Pictures:
    """Read a data set's index and find its pictures, the resized ones too.

    Where `dataset.cache` is on and there are none that fit, a warning says what to run.

    Raises:
        FileNotFoundError: `fetch` or `prepare` has not run, or the user's folder is gone.
    """
    pictures = open_prepared(dataset.name)
    if dataset.cache is None:
        return pictures
    cache = open_cache(
        dataset.name,
        dataset.cache,
        index_digest=pictures.report.digest,
        num_pictures=len(pictures.table),
    )
    return replace(pictures, cache=cache)


def open_prepared(dataset_name: str) -> Pictures:
    """Do so for any data set that was prepared here, by its name.

    Raises:
        FileNotFoundError: No such data set was prepared, or its pictures are gone.
    """
    table, report = read_index(index_folder(dataset_name))
    return Pictures(table, report, find_raw_root(dataset_name))


def build_loaders(
    pictures: Pictures,
    config: Config,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    rank: int = 0,
    world_size: int = 1,
) -> Loaders:
    """Build the train loader, and the val and test loaders that score during training.

    Batches are bit-identical for any number of workers. The order of epoch e is taken after
    `loader.batch_sampler.set_epoch(e)`, which Lightning calls. With several processes each loads
    its share of every batch of train, and every `world_size`-th batch of val and test.

    Raises:
        ValueError: The train split is smaller than one batch, or sizes do not fit.
    """
    transform = build_train_transform(
        config.transforms, config.model.image_size, mean=mean, std=std
    )
    dataset = IndexDataset(
        pictures.select("train"),
        root=pictures.root,
        transform=transform,
        seed=config.seed,
        distractor=_distractor_of_loader(config),
        sides=pictures.list_sides(),
        cache=_find_cache(pictures, transform, "train"),
    )
    sampler = build_train_sampler(
        pictures.select("train"), config, rank=rank, world_size=world_size
    )
    has_val = "val" in pictures.report.counts
    scored: dict[str, Any] = {"mean": mean, "std": std, "rank": rank, "world_size": world_size}
    return Loaders(
        train=_build_loader(dataset, sampler, config),
        val=build_test_loader(pictures, config, "val", **scored) if has_val else None,
        test=build_test_loader(pictures, config, "test", **scored),
        table=pictures.table,
    )


def build_train_sampler(
    table: pd.DataFrame, config: Config, *, rank: int = 0, world_size: int = 1
) -> EpochSampler:
    """Build the sampler of the train split: by identities where Re-ID asks for it, else at random.

    Raises:
        ValueError: The split has too few pictures or identities for one batch.
    """
    train = config.train
    shared: dict[str, Any] = {
        "batch_size": train.batch_size,
        "seed": config.seed,
        "rank": rank,
        "world_size": world_size,
    }
    if train.images_per_identity is None:
        return EpochBatchSampler(len(table), shuffle=True, **shared)
    return IdentityBatchSampler(
        table["label"].to_numpy(), images_per_identity=train.images_per_identity, **shared
    )


def build_test_loader(
    pictures: Pictures,
    config: Config,
    split: str,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    sides: Sides | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
    """Build a loader over one split in the index's order, without augmentation, nothing dropped.

    `test` of a Re-ID set is its queries, then its gallery without pictures that no ranking has.
    `sides` are the cameras and views that the model knows; None = those of this train split.

    Raises:
        ValueError: The index has no such split, or sizes do not fit.
    """
    is_ranked = split == "test" and config.dataset.kind == "reid"
    table = pictures.select_ranked() if is_ranked else pictures.select(split)
    if table.empty:
        raise ValueError(
            f"dataset {pictures.report.dataset}: no {split} split; "
            f"its pictures: {pictures.report.counts}"
        )
    transform = build_test_transform(config.transforms, config.model.image_size, mean=mean, std=std)
    dataset = IndexDataset(
        table,
        root=pictures.root,
        transform=transform,
        seed=config.seed,
        sides=pictures.list_sides() if sides is None else sides,
        cache=_find_cache(pictures, transform, split),
    )
    sampler = EpochBatchSampler(
        len(dataset),
        batch_size=config.evaluate.batch_size,
        seed=config.seed,
        shuffle=False,
        rank=rank,
        world_size=world_size,
    )
    return _build_loader(dataset, sampler, config)


def _find_cache(pictures: Pictures, transform: Transform, split: str) -> CachedPictures | None:
    if pictures.cache is None or pictures.cache.serves(transform):
        return pictures.cache
    logger.warning(
        "dataset.cache: holds pictures of %s, %s, but %s pictures are resized to %s, %s, and so "
        "decoded instead",
        list(pictures.cache.record.resize),
        pictures.cache.record.interpolation,
        split,
        list(transform.resize),
        transform.interpolation,
    )
    return None


def _distractor_of_loader(config: Config) -> DistractorKind | None:
    kind = config.model.distractor
    if config.model.pwca_blocks and kind in get_args(DistractorKind):
        return cast(DistractorKind, kind)
    return None


def _build_loader(dataset: IndexDataset, sampler: EpochSampler, config: Config) -> Loader:
    workers = config.train.workers
    # A generator of its own: otherwise each new iteration would draw from the global one.
    generator = torch.Generator().manual_seed(config.seed)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available() and config.train.devices != "cpu",
        generator=generator,
        collate_fn=collate,
    )


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch; that of no pictures, which a process may have to score, is an empty one."""
    batch: dict[str, Any] = default_collate(items) if items else {}
    return batch
