"""The benchmark of loading reads what it says in each way, and counts right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import loading, loading_waits
from benchmarks.loading import SETTINGS, WAYS, measure_ways, summarise
from benchmarks.photographs import write_enlarged, write_photograph
from dcal.config import TransformsConfig
from pipelines.compose import compose_tree

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{seed}.jpg" for seed in range(2)]
    for seed, path in enumerate(paths):
        write_photograph(path, size=(320, 304), seed=seed)
    return paths


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_those_of_experiments(name: str) -> None:
    transforms = compose_tree([f"transforms={name}"], EXPERIMENTS)["transforms"]
    composed = TransformsConfig.model_validate(transforms)
    ours, image_size = SETTINGS[name]
    # How the test split is cropped does not matter to a training picture.
    assert ours == composed.model_copy(update={"test_crop": ours.test_crop})
    assert image_size <= composed.resize


def test_rates_and_ratios_are_by_round() -> None:
    found = summarise([2.0, 1.0, 4.0], [4.0, 4.0, 4.0], 8)
    assert found == {
        "pictures_per_second": 4.0,
        "pictures_per_second_min": 2.0,
        "pictures_per_second_max": 8.0,
        "ratio": 2.0,
    }


def test_each_way_is_measured_over_the_same_files(files: list[Path]) -> None:
    rows = measure_ways("photos_64", "drawn", files, rounds=1)
    assert [row["way"] for row in rows] == list(WAYS)
    assert all(row["pictures"] == 2 and row["pictures_per_second"] > 0 for row in rows)
    assert rows[0]["ratio"] == 1.0
    assert rows[0]["over_floor"] > 1  # decoding alone is part of it
    reduced = rows[1]
    assert reduced["pictures_reduced"] == 2
    assert 0 < reduced["mean_difference"] < reduced["max_difference"] < 256
    table = loading.build_ways_table(rows)
    assert table.row_count == 3


def test_cached_pictures_are_the_raw_ones_and_reduced_ones_are_not(files: list[Path]) -> None:
    readers, _ = loading.build_readers(SETTINGS["photos_64"], files)
    found = {}
    for way, read in readers.items():
        torch.manual_seed(0)
        found[way] = read(1)
    assert torch.equal(found["raw"], found["cached"])
    assert not torch.equal(found["raw"], found["reduced"])


def test_pictures_that_are_too_small_to_reduce_differ_in_nothing(files: list[Path]) -> None:
    difference = loading.measure_difference(SETTINGS["fgvc"], files)
    assert difference == {"pictures_reduced": 0, "mean_difference": 0.0, "max_difference": 0}


def test_a_drawn_photograph_takes_the_bits_of_one(tmp_path: Path) -> None:
    write_photograph(tmp_path / "a.jpg", size=(750, 1000), seed=0)
    bits = 8 * (tmp_path / "a.jpg").stat().st_size / 750_000
    assert 2 < bits < 4
    with Image.open(tmp_path / "a.jpg") as image:
        pixels = np.asarray(image.convert("RGB")).astype(float)
        assert image.size == (1000, 750)
        write_enlarged(tmp_path / "b.jpg", image.convert("RGB"), size=(1500, 2000))
    assert 20 < pixels.std() < 80 and 100 < pixels.mean() < 156
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (2000, 1500)


class _Sampler:
    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class _Loader:
    """Gives batches on a clock of the test's own, each of which takes a second longer."""

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.batch_sampler = clock, _Sampler()

    def __len__(self) -> int:
        return loading_waits.NUM_WARM_UP + 2

    def __iter__(self) -> Iterator[None]:
        for number in range(len(self)):
            self.clock[0] += 1.0 + number
            yield


def test_waiting_is_what_the_batch_took_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(loading_waits.time, "perf_counter", lambda: clock[0])

    def train_step() -> None:
        clock[0] += 10.0

    loader = _Loader(clock)
    waiting, in_all = loading_waits.time_epoch(loader, train_step, epoch=3)  # type: ignore[arg-type]
    first = 1.0 + loading_waits.NUM_WARM_UP
    assert loader.batch_sampler.epoch == 3
    assert waiting == first + first + 1 and in_all == waiting + 20.0
