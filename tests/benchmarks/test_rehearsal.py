"""Tiny pictures in the official layouts, at any numbers, are what their readers take them for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.rehearsal import measure
from benchmarks.tiny_sets import MSMT17, PersonCounts, write_cub, write_msmt17
from dcal.data.indexing import build_index
from dcal.data.sources import describe_source
from tests.data.factory import make_dataset
from tests.data.sources.test_msmt17 import make_msmt17


def test_msmt17_has_its_persons_cameras_and_no_copies(tmp_path: Path) -> None:
    counts = {"train": PersonCounts(5, (70, 11)), "test": PersonCounts(7, (35, 150))}
    assert write_msmt17(tmp_path, counts) == 266
    table, report = build_index(make_msmt17(), tmp_path)
    assert report.counts == {"train": 81, "query": 35, "gallery": 150}
    assert table["sha256"].is_unique and table["camera"].nunique() == 15
    assert [said[:8] for said in report.warnings] == ["not the ", "read as "]
    for split, persons in (("train", 5), ("query", 7), ("gallery", 7)):
        assert table.loc[table["split"] == split, "identity"].nunique() == persons


def test_the_full_numbers_are_the_official_ones() -> None:
    official = describe_source(make_msmt17())
    assert official is not None
    train, query = official.counts["train"], official.counts["query"]
    assert sum(MSMT17["train"].pictures) == train.pictures
    assert MSMT17["train"].persons == train.groups
    assert MSMT17["test"].pictures == (query.pictures, official.counts["gallery"].pictures)
    assert MSMT17["test"].persons == query.groups


def test_cub_has_its_species_boxes_and_parts(tmp_path: Path) -> None:
    assert write_cub(tmp_path, {"train": 12, "test": 8}, num_species=4) == 20
    dataset = make_dataset(source_type="cub", val_ratio=0.0, allow_partial=True)
    table, report = build_index(dataset, tmp_path)
    assert report.counts == {"train": 12, "test": 8} and report.num_classes == 4
    assert table["sha256"].is_unique
    assert {len(names) for names in table["part_names"]} == {10}


def test_a_childs_seconds_and_memory_are_measured() -> None:
    code = "import time; held = bytearray(200 << 20); time.sleep(0.4)"
    cost = measure(lambda: subprocess.run([sys.executable, "-c", code], check=True))
    assert cost.seconds >= 0.4 and cost.peak_mib >= 200
