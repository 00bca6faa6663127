"""Resized pictures give the batches that decoding gives, or are left alone with a warning."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dcal.config import CacheConfig, Config
from dcal.data import cached
from dcal.data.cached import CachedPictures, list_caches, open_cache, write_cache
from dcal.data.datamodule import Loader, Pictures, build_loaders, open_pictures
from dcal.data.fetching import fetch_dataset
from dcal.data.images import load_image
from dcal.data.index import write_index
from dcal.data.indexing import build_index
from dcal.data.raw import raw_root
from dcal.paths import cached_root
from pipelines.compose import compose_tree
from tests.data.factory import make_config, make_dataset

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
COUNTS = {"train": 6, "val": 2, "test": 3}
CACHE = CacheConfig(resize=(20, 28), interpolation="bicubic")
NUM_BYTES = 20 * 28 * 3


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of pictures of several kinds and sizes, prepared without a cache."""
    generator = np.random.default_rng(0)
    source = tmp_path / "pictures"
    for split, count in COUNTS.items():
        for name in "ab":
            (source / split / name).mkdir(parents=True)
            for number in range(count):
                size = generator.integers(20, 90, 2)
                image = Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))
                exif = image.getexif()
                exif[0x0112] = 1 + number % 8
                suffix = ("jpg", "png", "webp")[number % 3]
                image.save(source / split / name / f"{number}.{suffix}", exif=exif)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    dataset = make_dataset(source=str(source))
    fetch_dataset(dataset)
    write_index(Path("data/index/mine"), *build_index(dataset, raw_root(dataset)))
    return source


def _open(cache: CacheConfig | None = CACHE) -> Pictures:
    return open_pictures(make_dataset(cache=cache))


def _write(cache: CacheConfig = CACHE, **options: Any) -> bool:
    pictures = _open(None)
    return write_cache(
        "mine",
        cache,
        table=pictures.table,
        root=pictures.root,
        index_digest=pictures.report.digest,
        **options,
    )


def _read_batches(pictures: Pictures, config: Config) -> list[dict[str, Any]]:
    loaders = build_loaders(pictures, config, mean=MEAN, std=STD)
    assert loaders.val is not None
    batches = []
    for epoch in range(2):
        loaders.train.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches += list(loaders.train)
    return [*batches, *_list(loaders.val), *_list(loaders.test)]


def _list(loader: Loader) -> list[dict[str, Any]]:
    return list(loader)


def _forget_pictures(source: Path) -> None:
    """Make sure that no picture is decoded from here on."""
    for path in source.rglob("*.*"):
        path.write_bytes(b"")


def _require_equal(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPERIMENTS.glob("transforms/*")))
def test_batches_are_those_of_decoding_for_all_transforms(project: Path, name: str) -> None:
    transforms = compose_tree([f"transforms={name}"], EXPERIMENTS)["transforms"]
    image_size = (64, 48) if transforms["train_crop"] == "random" else transforms["resize"]
    resize = transforms["resize"]
    changes: dict[str, Any] = {
        "transforms": transforms,
        "model": {"image_size": image_size, "distractor": "mixed"},
    }
    expected = _read_batches(_open(None), make_config(**changes))
    cache = {"resize": resize, "interpolation": transforms["interpolation"]}
    assert _write(CacheConfig(**cache))
    _forget_pictures(project)
    config = make_config(**changes, dataset={"cache": cache})
    pictures = open_pictures(config.dataset)
    _require_equal(_read_batches(pictures, config), expected)


@pytest.mark.parametrize("train_crop", ["random", "pad", "none"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_batches_are_those_of_decoding_with_every_step_on(
    project: Path, train_crop: str, interpolation: str
) -> None:
    transforms: dict[str, Any] = {
        "train_crop": train_crop,
        "pad": 3,
        "test_crop": "center" if train_crop == "random" else "none",
        "interpolation": interpolation,
    }
    resize = (20, 28) if train_crop == "random" else (16, 24)
    expected = _read_batches(_open(None), make_config(transforms=transforms))
    cache = CacheConfig(resize=resize, interpolation=interpolation)
    _write(cache)
    _forget_pictures(project)
    for workers in (0, 2):
        config = make_config(
            transforms=transforms, dataset={"cache": cache}, train={"workers": workers}
        )
        _require_equal(_read_batches(_open(cache), config), expected)


def test_the_file_holds_the_pictures_in_the_order_of_the_index(project: Path) -> None:
    told: list[tuple[int, int]] = []
    _write(on_picture=lambda done, total: told.append((done, total)))
    pictures = _open()
    table = pictures.table
    assert told[-1] == (len(table), len(table)) and told == sorted(told)
    pixels = np.fromfile(cached_root() / "mine" / "pixels.bin", np.uint8)
    for row, path in enumerate(table["path"]):
        resized = load_image(pictures.root / path).resize((28, 20), Image.Resampling.BICUBIC)
        slot = pixels[row * NUM_BYTES : (row + 1) * NUM_BYTES].reshape(20, 28, 3)
        assert np.array_equal(slot, np.asarray(resized))
    record = json.loads((cached_root() / "mine" / "pixels.json").read_text())
    assert record["resize"] == [20, 28] and record["num_pictures"] == len(table)
    assert record["index_digest"] == pictures.report.digest


def test_what_is_up_to_date_is_kept_and_all_else_is_made_anew(project: Path) -> None:
    assert _write()
    path = cached_root() / "mine" / "pixels.bin"
    before = path.stat()
    assert not _write()
    assert path.stat().st_ino == before.st_ino
    assert _write(CacheConfig(resize=(20, 28), interpolation="bilinear"))
    assert _write()
    os.truncate(path, 100)
    assert _write()
    assert path.stat().st_size == before.st_size
    assert [entry.name for entry in cached_root().iterdir()] == ["mine"]


def _change_record(**changes: Any) -> None:
    path = cached_root() / "mine" / "pixels.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _remove() -> None:
    (cached_root() / "mine" / "pixels.bin").unlink()


def _cut() -> None:
    os.truncate(cached_root() / "mine" / "pixels.bin", NUM_BYTES)


def _damage() -> None:
    (cached_root() / "mine" / "pixels.json").write_text('{"resize": ')


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_remove, "no resized pictures there"),
        (_cut, r"pixels\.bin is damaged \(expected \d+ bytes, got 1680\)"),
        (_damage, r"pixels\.json is damaged \(.+\)"),
        (lambda: _change_record(index_digest="0" * 64), "pictures of another index"),
        (lambda: _change_record(num_pictures=3), "pictures of another index"),
        (lambda: _change_record(resize=[20, 20]), "pictures of another size"),
        (lambda: _change_record(made_by={"pillow": "1.0"}), "made by another version"),
    ],
)
def test_what_cannot_be_used_is_warned_of_and_decoded(
    project: Path, caplog: pytest.LogCaptureFixture, spoil: Any, reason: str
) -> None:
    _write()
    spoil()
    pictures = _open()
    assert pictures.cache is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said = record.getMessage()
    assert said.startswith("data/cached/mine: ") and said.endswith(
        "run: python -m pipelines.prepare"
    )
    assert re.search(reason, said)
    config = make_config(dataset={"cache": CACHE})
    assert len(_read_batches(pictures, config)) > 0


def test_a_picture_that_is_gone_leaves_the_old_pixels_as_they_were(project: Path) -> None:
    _write()
    before = (cached_root() / "mine" / "pixels.bin").read_bytes()
    next(project.rglob("*.png")).unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        _write(CacheConfig(resize=(30, 30), interpolation="bicubic"))
    assert (cached_root() / "mine" / "pixels.bin").read_bytes() == before
    assert [entry.name for entry in cached_root().iterdir()] == ["mine"]
    assert _open().cache is not None


def test_too_little_room_is_one_sentence_before_any_work(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(cached.shutil, "disk_usage", lambda path: Usage)
    _forget_pictures(project)
    big = CacheConfig(resize=(9000, 9000), interpolation="bicubic")
    match = (
        r"22 pictures of 9000 x 9000 take 5\.3 GB, and 0\.0 GB are free there; make room, or set"
    )
    with pytest.raises(OSError, match=match):
        _write(big)
    assert list(cached_root().iterdir()) == []


def _open_cache(pictures: Pictures) -> CachedPictures:
    found = open_cache(
        "mine", CACHE, index_digest=pictures.report.digest, num_pictures=len(pictures.table)
    )
    assert found is not None
    return found


def test_a_worker_is_sent_no_pixels_and_maps_them_itself(project: Path) -> None:
    _write()
    cache = _open_cache(_open())
    assert cache._pixels is None
    image = cache.read(3)
    assert image is not None and isinstance(cache._pixels, np.memmap)
    content = pickle.dumps(cache)
    assert len(content) < NUM_BYTES
    again = pickle.loads(content).read(3)
    assert image.tobytes() == again.tobytes()


@pytest.mark.parametrize("is_replaced", [True, False])
def test_pixels_that_go_while_they_are_in_use_are_decoded_instead(
    project: Path, caplog: pytest.LogCaptureFixture, is_replaced: bool
) -> None:
    _write()
    config = make_config(dataset={"cache": CACHE})
    expected = _read_batches(_open(None), make_config())
    pictures = _open()
    if is_replaced:
        _write(CacheConfig(resize=(20, 29), interpolation="bicubic"))
    else:
        (cache,) = list_caches()
        cache.free()
    _require_equal(_read_batches(pictures, config), expected)
    assert [record.getMessage() for record in caplog.records] == [
        "data/cached/mine: removed or replaced while it was in use; pictures are decoded instead"
    ]


def test_what_is_mapped_already_is_read_to_the_end(project: Path) -> None:
    _write()
    cache = _open_cache(_open())
    first = cache.read(0)
    (kept,) = list_caches()
    assert kept.free() == kept.num_bytes > 22 * NUM_BYTES
    again = cache.read(0)
    assert first is not None and again is not None and first.tobytes() == again.tobytes()
    assert list_caches() == []


def test_test_pictures_of_another_size_are_decoded_with_a_warning(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes: dict[str, Any] = {"transforms": {"test_crop": "none"}}
    expected = _read_batches(_open(None), make_config(**changes))
    _write()
    config = make_config(**changes, dataset={"cache": CACHE})
    _require_equal(_read_batches(_open(), config), expected)
    assert [record.getMessage() for record in caplog.records] == [
        f"dataset.cache: holds pictures of [20, 28], bicubic, but {split} pictures are resized to "
        "[16, 24], bicubic, and so decoded instead"
        for split in ("val", "test")
    ]
