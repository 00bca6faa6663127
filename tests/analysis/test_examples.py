"""Which pictures stand for a data set."""

from __future__ import annotations

from dcal.analysis.examples import (
    choose_across_cameras,
    choose_all_examples,
    choose_examples,
)
from dcal.visual.examples import describe_examples
from tests.analysis.indexes import build_classes, build_vehicles
from tests.analysis.test_data_findings import build_data


def test_classes_are_chosen_from_the_largest_to_the_smallest() -> None:
    table = build_classes({"train": [1, 9, 5, 5, 7], "test": [2, 1, 0, 4, 1]})
    examples = choose_examples(build_data(table), num_groups=3, num_pictures=2)
    assert [example.title for example in examples] == ["class 1", "class 2", "class 0"]
    splits = [example.rows["split"].tolist() for example in examples]
    assert splits == [["train", "train", "test"], ["train", "train"], ["train", "test", "test"]]
    first = examples[0]
    assert first.rows["path"].tolist()[:2] == ["train/1.png", "train/9.png"]  # first and last
    assert first.captions == ["train, 60 x 40"] * 2 + ["test, 60 x 40"]


def test_fewer_groups_than_asked_for_are_all_of_them() -> None:
    table = build_classes({"train": [1, 2], "test": [1, 1]})
    assert len(choose_examples(build_data(table), num_groups=9)) == 2


def test_across_cameras_the_identity_that_most_saw_has_a_picture_of_each() -> None:
    example = choose_across_cameras(build_data(build_vehicles(), kind="reid"))
    assert example is not None and example.title.startswith("identity 11: a query")
    assert example.captions == [
        "query, camera 1", "gallery, camera unknown", "gallery, camera 1", "gallery, camera 2",
    ]  # fmt: skip


def test_without_a_shared_identity_nothing_is_shown_across_cameras() -> None:
    table = build_vehicles()
    table.loc[table["split"] == "query", "identity"] = 99
    assert choose_across_cameras(build_data(table, kind="reid")) is None


def test_identities_are_followed_by_one_across_cameras_and_classes_by_nothing() -> None:
    vehicles = build_data(build_vehicles(), kind="reid")
    examples = choose_all_examples(vehicles, num_groups=1, num_pictures=1)
    assert len(examples) == 2 and len(examples[-1].rows) == 2
    assert describe_examples(examples).endswith("identity 11: a query, then the gallery by camera")
    assert vehicles.counted == ["pictures", "cameras"]
    birds = build_data(build_classes({"train": [1, 2], "test": [1, 1]}))
    assert len(choose_all_examples(birds)) == 2 and birds.counted == ["pictures"]
