"""Loaders give bit-identical batches for any number of workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dcal.data import datamodule
from dcal.data.datamodule import (
    Loader,
    Pictures,
    build_loaders,
    build_test_loader,
    open_pictures,
)
from dcal.data.fetching import fetch_dataset
from dcal.data.index import write_index
from dcal.data.indexing import build_index
from dcal.data.raw import raw_root
from dcal.data.transforms import Transform
from tests.data.factory import make_config, make_dataset, write_folder

COUNTS = {"train": {"a": 9, "b": 7}, "test": {"a": 3, "b": 2}}
MEAN = STD = (0.5, 0.5, 0.5)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    table, report = build_index(make_dataset(), write_folder(tmp_path / "raw", COUNTS))
    return Pictures(table, report, tmp_path / "raw")


def _iterate(loader: Loader, *, epochs: int) -> list[dict[str, Any]]:
    batches = []
    for epoch in range(epochs):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches += list(loader)
    return batches


def test_zero_and_two_workers_give_the_same_bits_in_every_epoch(pictures: Pictures) -> None:
    runs = []
    for workers in (0, 2):
        torch.manual_seed(workers)
        config = make_config(train={"workers": workers}, model={"distractor": "mixed"})
        loader = build_loaders(pictures, config, mean=MEAN, std=STD).train
        runs.append(_iterate(loader, epochs=2))
    assert len(runs[0]) == len(runs[1]) == 6
    for one, two in zip(*runs, strict=True):
        assert (
            one.keys()
            == two.keys()
            == {"image", "label", "row", "camera", "view", "distractor_image"}
        )
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(runs[0][0]["image"], runs[0][3]["image"])


def test_batches_have_the_models_rectangle_and_their_own_labels(pictures: Pictures) -> None:
    loaders = build_loaders(pictures, make_config(), mean=MEAN, std=STD)
    for batch in loaders.train:
        assert batch["image"].shape == (4, 3, 16, 24) and batch["image"].dtype == torch.float32
        rows = pictures.table.loc[batch["row"].numpy()]
        assert rows["label"].tolist() == batch["label"].tolist()
        assert set(rows["split"]) == {"train"}


def test_val_and_test_are_scored_whole_and_in_order(pictures: Pictures) -> None:
    loaders = build_loaders(pictures, make_config(), mean=MEAN, std=STD)
    assert loaders.val is not None
    for split, loader in (("val", loaders.val), ("test", loaders.test)):
        rows = torch.cat([batch["row"] for batch in loader]).tolist()
        assert rows == pictures.select(split).index.tolist()
        assert "distractor_image" not in next(iter(loader))


def test_iterating_draws_nothing_from_the_global_generator(pictures: Pictures) -> None:
    loaders = build_loaders(pictures, make_config(), mean=MEAN, std=STD)
    before = torch.get_rng_state()
    _iterate(loaders.train, epochs=1)
    list(loaders.test)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loader_brings_distractors_only_where_a_batch_may_not_hold_them(
    pictures: Pictures,
) -> None:
    for model, expected in (
        ({"distractor": "any"}, False),
        ({"distractor": "other"}, False),
        ({"distractor": "same"}, True),
        ({"distractor": "noise"}, True),
        ({"distractor": "noise", "pwca_blocks": 0}, False),
    ):
        loaders = build_loaders(pictures, make_config(model=model), mean=MEAN, std=STD)
        assert ("distractor_image" in next(iter(loaders.train))) == expected


def test_without_a_val_split_there_is_no_val_loader(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "raw", COUNTS)
    table, report = build_index(make_dataset(val_ratio=0.0), root)
    pictures = Pictures(table, report, root)
    assert build_loaders(pictures, make_config(), mean=MEAN, std=STD).val is None
    with pytest.raises(ValueError, match=r"dataset mine: no val split; .*'train': 16"):
        build_test_loader(pictures, make_config(), "val", mean=MEAN, std=STD)


def test_a_train_split_smaller_than_a_batch_is_an_error(pictures: Pictures) -> None:
    config = make_config(train={"batch_size": 13})
    with pytest.raises(ValueError, match="at most the 12 pictures of the train split; got 13"):
        build_loaders(pictures, config, mean=MEAN, std=STD)


def test_pictures_are_opened_from_the_index_and_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "raw", COUNTS)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    dataset = make_dataset(source=str(folder))
    with pytest.raises(FileNotFoundError, match=r"pipelines\.prepare"):
        open_pictures(dataset)
    fetch_dataset(dataset)
    write_index(Path("data/index/mine"), *build_index(dataset, raw_root(dataset)))
    pictures = open_pictures(dataset)
    assert pictures.root == folder.resolve()
    pd.testing.assert_index_equal(
        pictures.select("test").index, pictures.table.index[pictures.table["split"] == "test"]
    )


def test_workers_outlive_an_epoch_and_compute_on_one_thread_each(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(image: Any) -> torch.Tensor:
        return torch.tensor([os.getpid(), torch.get_num_threads()])

    transform = Transform(tell, resize=(20, 28), interpolation="bicubic")
    monkeypatch.setattr(datamodule, "build_train_transform", lambda *_, **__: transform)
    config = make_config(train={"workers": 2})
    loader = build_loaders(pictures, config, mean=MEAN, std=STD).train
    told = torch.cat([batch["image"] for batch in _iterate(loader, epochs=3)])
    assert len(told[:, 0].unique()) == 2 and os.getpid() not in told[:, 0]
    assert told[:, 1].unique().tolist() == [1]
