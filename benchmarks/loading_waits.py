"""The share of a training step that waits for its batch, by way of reading and workers (ours)."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.variants import Job, build_variant
from dcal.config import Config, load_config
from dcal.data.cached import write_cache
from dcal.data.datamodule import Loader, Pictures, build_loaders, open_pictures
from dcal.data.fetching import fetch_dataset
from dcal.data.index import write_index
from dcal.data.indexing import build_index
from dcal.data.raw import raw_root
from dcal.paths import index_folder

JOB = Job("deit_tiny_patch16_224", (224, 224), 8)
RESIZE = (275, 275)  # is to 224 as 550 to 448
NUM_WARM_UP, NUM_STEPS = 2, 4  # the first batches of an epoch are not read ahead
WAYS = ("raw", "cached")
WORKERS = (0, 1)


class Kind(NamedTuple):
    """A loader to train from."""

    source: str
    way: str
    workers: int
    loader: Loader


def measure_waits(
    sources: Mapping[str, Sequence[Path]], folder: Path, *, rounds: int
) -> list[dict[str, Any]]:
    """Train an epoch of each kind in turn, `rounds` times, and return a row a kind.

    Args:
        sources: Picture files by their name; each is read several times an epoch.
        folder: Where to link them; data sets are prepared below it.
        rounds: Epochs of each kind.
    """
    before = Path.cwd()
    params = before / "params.yaml"
    os.chdir(folder)
    try:
        kinds = [
            Kind(source, way, workers, loader)
            for source, files in sources.items()
            for (way, workers), loader in _build_loaders(source, files, params).items()
        ]
    finally:
        os.chdir(before)
    train_step = build_variant("class_local", JOB, device="cpu").train_step
    found: list[list[tuple[float, float]]] = [[] for _ in kinds]
    for epoch in range(rounds):
        for kind, epochs in zip(kinds, found, strict=True):
            epochs.append(time_epoch(kind.loader, train_step, epoch=epoch))
    return [_summarise(kind, epochs) for kind, epochs in zip(kinds, found, strict=True)]


def time_epoch(
    loader: Loader, train_step: Callable[[], None], *, epoch: int
) -> tuple[float, float]:
    """Return seconds waiting for batches and seconds in all, of the steps after the warm-up.

    The step itself takes pictures of its own: its time does not depend on what they show.
    """
    loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    batches = iter(loader)
    waiting = in_all = 0.0
    for step in range(len(loader)):
        started = time.perf_counter()
        next(batches)
        waited = time.perf_counter() - started
        train_step()
        if step >= NUM_WARM_UP:
            waiting += waited
            in_all += time.perf_counter() - started
    return waiting, in_all


def _build_loaders(
    source: str, files: Sequence[Path], params: Path
) -> dict[tuple[str, int], Loader]:
    name = source.replace(" ", "")
    _link_pictures(Path("linked") / name, files)
    loaders: dict[tuple[str, int], Loader] = {}
    for way in WAYS:
        for workers in WORKERS:
            config = _compose(name, way, workers, params)
            pictures = _prepare(config)
            loaders[way, workers] = build_loaders(
                pictures, config, mean=(0.5,) * 3, std=(0.5,) * 3
            ).train
    return loaders


def _link_pictures(folder: Path, files: Sequence[Path]) -> None:
    """Lay out train and test folders of two classes, enough for an epoch."""
    num_train = JOB.batch_size * (NUM_WARM_UP + NUM_STEPS)
    for split, count in (("train", num_train), ("test", 2)):
        for number, path in enumerate(islice(cycle(files), count)):
            link = folder / split / "ab"[number % 2] / f"{number:03d}.jpg"
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)


def _compose(name: str, way: str, workers: int, params: Path) -> Config:
    resize = list(RESIZE)
    cache = f"{{resize: {resize}, interpolation: bicubic}}" if way == "cached" else "null"
    return load_config(
        params,
        [
            f"dataset.name={name}",
            "dataset.source_type=folder",
            f"dataset.source=linked/{name}",
            "dataset.val_ratio=0.0",
            "dataset.options={}",
            f"dataset.cache={cache}",
            f"transforms.resize={resize}",
            "transforms.train_crop=random",
            "transforms.test_crop=center",
            f"model.image_size={list(JOB.image_size)}",
            "model.distractor=any",
            f"train.batch_size={JOB.batch_size}",
            f"train.workers={workers}",
            "train.selection=last",
        ],
    )


def _prepare(config: Config) -> Pictures:
    dataset = config.dataset
    if not index_folder(dataset.name).exists():
        fetch_dataset(dataset)
        write_index(index_folder(dataset.name), *build_index(dataset, raw_root(dataset)))
    if dataset.cache is not None:
        pictures = open_pictures(dataset.model_copy(update={"cache": None}))
        write_cache(
            dataset.name,
            dataset.cache,
            table=pictures.table,
            root=pictures.root,
            index_digest=pictures.report.digest,
        )
    return open_pictures(dataset)


def _summarise(kind: Kind, epochs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    shares = [waiting / in_all for waiting, in_all in epochs]
    return {
        "source": kind.source,
        "way": kind.way,
        "workers": kind.workers,
        "step_seconds": statistics.median(in_all for _, in_all in epochs) / NUM_STEPS,
        "wait_seconds": statistics.median(waiting for waiting, _ in epochs) / NUM_STEPS,
        "share": statistics.median(shares),
        "share_min": min(shares),
        "share_max": max(shares),
    }
