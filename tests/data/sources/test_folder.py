"""A user's folders become a table, and what is odd about them is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcal.data.archives import unpack
from dcal.data.index import build_index
from dcal.data.sources import folder
from tests.data.factory import make_dataset, write_folder, write_picture

COUNTS = {"train": {"b": 4, "a": 8}, "test": {"a": 2, "b": 1}}


def test_labels_are_positions_in_the_sorted_names_of_train(tmp_path: Path) -> None:
    source = folder.build_table(make_dataset(), write_folder(tmp_path, COUNTS))
    assert source.class_names == ["a", "b"]
    by_path = source.table.set_index("path")
    assert by_path.loc["test/b/000.png", "label"] == 1
    assert by_path.loc["test/a/000.png", "split"] == "test"
    assert source.table["split"].value_counts().to_dict() == {"train": 9, "val": 3, "test": 3}
    assert source.warnings == []


def test_one_wrapping_folder_and_its_companions_are_accepted(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures", COUNTS)
    (tmp_path / "__MACOSX" / "pictures").mkdir(parents=True)
    (tmp_path / "LICENSE.txt").write_text("free")
    source = folder.build_table(make_dataset(), tmp_path)
    assert source.table["path"].str.startswith("pictures/").all()


def test_a_val_folder_is_used_and_val_ratio_is_said_to_be_ignored(tmp_path: Path) -> None:
    write_folder(tmp_path, {**COUNTS, "val": {"b": 2}})
    source = folder.build_table(make_dataset(), tmp_path)
    assert source.table["split"].value_counts().to_dict() == {"train": 12, "test": 3, "val": 2}
    assert source.warnings == ["dataset.val_ratio is not used, because val/ exists"]
    assert folder.build_table(make_dataset(val_ratio=0.0), tmp_path).warnings == []


@pytest.mark.parametrize("inside", ["", "a", "a/.hidden"])
def test_a_val_folder_without_a_picture_counts_as_none_and_is_said(
    tmp_path: Path, inside: str
) -> None:
    write_folder(tmp_path, COUNTS)
    (tmp_path / "val" / inside).mkdir(parents=True)
    source = folder.build_table(make_dataset(), tmp_path)
    assert source.table["split"].value_counts().to_dict() == {"train": 9, "val": 3, "test": 3}
    assert source.warnings == ["val/ is not used, because no class folder in it holds a picture"]


def test_a_test_folder_without_a_class_folder_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": COUNTS["train"]})
    write_picture(tmp_path / "test/stray.png", seed=0)
    with pytest.raises(ValueError, match=r"test: expected a folder for each class.* no folder$"):
        folder.build_table(make_dataset(), tmp_path)


def test_pictures_in_deeper_folders_and_with_odd_names_belong_to_the_class(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    write_picture(tmp_path / "test/a/2024 summer/pièce jointe (1).PNG", seed=1)
    paths = set(folder.build_table(make_dataset(), tmp_path).table["path"])
    assert "test/a/2024 summer/pièce jointe (1).PNG" in paths


def test_everything_left_out_is_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, {**COUNTS, "extra": {"a": 1}})
    (tmp_path / "train/a/.DS_Store").write_text("x")
    (tmp_path / "train/a/Thumbs.db").write_text("x")
    (tmp_path / "train/a/notes.txt").write_text("x")
    os.mkfifo(tmp_path / "train/a/pipe.jpg")  # to open it would wait for ever
    (tmp_path / "train/a/door").symlink_to(tmp_path / "test")
    (tmp_path / "train/.hidden").mkdir()
    write_picture(tmp_path / "train/stray.png", seed=3)
    assert folder.build_table(make_dataset(), tmp_path).warnings == [
        "ignored (files outside a class folder): 1",
        "ignored (hidden files): 2",
        "ignored (links to folders): 1",
        "ignored (other suffixes or no file): 3",
        "ignored (folders beside train and test): extra",
    ]


def test_a_class_without_test_pictures_is_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": {"a": 4, "b": 4, "c": 4}, "test": {"a": 1}})
    warnings = folder.build_table(make_dataset(), tmp_path).warnings
    assert warnings == ["classes without a test picture: 2 of 3"]


def test_a_test_class_that_train_lacks_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": {"a": 2, "b": 2}, "test": {"a": 1, "B": 1}})
    with pytest.raises(ValueError, match=r"class folders that train lacks: B;"):
        folder.build_table(make_dataset(), tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_folder_without_pictures_is_an_error_naming_it(tmp_path: Path, split: str) -> None:
    write_folder(tmp_path, {"train": {"a": 2, "b": 2, "c": 2}, "test": {"a": 1}})
    for path in (tmp_path / "train/c").iterdir():
        path.unlink()
    if split == "test":
        write_picture(tmp_path / "train/c/x.png", seed=0)
        (tmp_path / "test/c").mkdir()
    with pytest.raises(ValueError, match=rf"{split}/c: no picture in this class folder"):
        folder.build_table(make_dataset(), tmp_path)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": {"a": 2}, "test": {"a": 1}})
    with pytest.raises(ValueError, match="two at least; got 1"):
        folder.build_table(make_dataset(), tmp_path)


def test_a_folder_without_train_and_test_says_what_it_found(tmp_path: Path) -> None:
    write_folder(tmp_path, {"training": {"a": 2}, "testing": {"a": 1}})
    with pytest.raises(FileNotFoundError, match=r"train and test .* found testing, training"):
        folder.build_table(make_dataset(), tmp_path)


def test_a_name_that_is_not_utf8_is_an_error_that_can_be_printed(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    os.rename(tmp_path / "train/a/000.png", os.fsencode(tmp_path / "train/a") + b"/\xff.png")
    with pytest.raises(ValueError, match=r"train/a/\\udcff\.png: the file name is not UTF-8"):
        folder.build_table(make_dataset(), tmp_path)


@pytest.mark.slow
def test_grocery_photographs_have_their_published_counts(
    tmp_path: Path, grocery_archive: Path
) -> None:
    unpack(grocery_archive, tmp_path)
    table, report = build_index(make_dataset(val_ratio=0.1), tmp_path)
    assert report.counts == {"train": 773, "val": 86, "test": 701}
    assert report.num_classes == 28 and report.warnings == []
    assert table.loc[table["split"] != "test", "label"].value_counts().sum() == 859
    assert table[["width", "height"]].max(axis="columns").eq(320).all()
