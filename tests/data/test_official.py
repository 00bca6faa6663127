"""A set's numbers are compared with the official ones, split by split."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dcal.config import DatasetConfig
from dcal.data.official import Count, OfficialCountError, OfficialSet, compare_counts
from dcal.data.partial import UNOFFICIAL
from dcal.data.remote_file import Download
from dcal.data.sources import describe_source, list_sources
from pipelines.compose import compose_tree
from tests.data.factory import make_dataset
from tests.project import ROOT

EXPERIMENTS = ROOT / "experiments"
MD5 = "0123456789abcdef" * 2
PUBLISHED = sorted(path.stem for path in (EXPERIMENTS / "dataset").glob("*.yaml"))


def _make_official(**counts: Count) -> OfficialSet:
    return OfficialSet(
        title="Sparrows", page="example.org", terms="None.", counts=counts, layout="a folder"
    )


REID = pd.DataFrame(
    {
        "split": ["train", "train", "gallery", "gallery", "gallery"],
        "identity": pd.array([1, 2, 3, 0, -1], dtype="Int64"),
        "camera": pd.array([1, 2, 1, 2, None], dtype="Int64"),
    }
)
FGVC = pd.DataFrame({"split": ["train", "train", "test"], "label": [0, 1, 1]})


def test_equal_counts_say_nothing_and_junk_and_distractors_are_no_identities() -> None:
    official = _make_official(train=Count(2, 2, 2), gallery=Count(3, 1, 2))
    assert compare_counts(REID, official, kind="reid", allow_partial=False) == []
    classes = _make_official(train=Count(2, 2), test=Count(1, 1))
    assert compare_counts(FGVC, classes, kind="fgvc", allow_partial=False) == []


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (Count(3, 2, 2), "expected 3 train pictures, found 2"),
        (Count(2, 4, 2), "expected 4 train identities, found 2"),
        (Count(2, 2, 6), "expected 6 train cameras, found 2"),
    ],
)
def test_each_number_that_differs_is_named(count: Count, said: str) -> None:
    official = _make_official(train=count)
    with pytest.raises(OfficialCountError, match=f"^Sparrows: {said}. Get the whole set"):
        compare_counts(REID, official, kind="reid", allow_partial=False)
    warnings = compare_counts(REID, official, kind="reid", allow_partial=True)
    assert warnings == [f"{UNOFFICIAL} Sparrows: {said}"]


def test_what_is_not_known_is_not_compared() -> None:
    official = _make_official(gallery=Count(3, None, None))
    assert compare_counts(REID, official, kind="reid", allow_partial=False) == []


def test_a_split_that_is_missing_has_no_pictures() -> None:
    with pytest.raises(OfficialCountError, match="expected 5 test pictures, found 0"):
        compare_counts(FGVC[:2], _make_official(test=Count(5)), kind="fgvc", allow_partial=False)


def test_a_request_names_layout_files_sizes_page_and_terms() -> None:
    files = (
        Download("a.tgz", (), f"md5:{MD5}", 12_000_000),
        Download("b.mat", (), f"md5:{MD5}", None),
    )
    official = OfficialSet("Sparrows", "example.org", "Research only.", {}, "a folder", files)
    assert official.describe_request() == (
        "dataset.source: expected your folder or archive of Sparrows, which is not downloaded; got "
        f"null. It holds a folder (officially: a.tgz, 12 MB, md5:{MD5}; b.mat, md5:{MD5}). "
        "Official page: example.org. Research only."
    )


# The paper's settings: the sizes that its tables were measured on.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cub", {"train": 5994, "test": 5794}),
        ("cars", {"train": 8144, "test": 8041}),
        ("aircraft", {"train": 6667, "test": 3333}),
        ("market1501", {"train": 12936, "query": 3368, "gallery": 19732}),
        ("dukemtmc", {"train": 16522, "query": 2228, "gallery": 17661}),
        ("msmt17", {"train": 32621, "query": 11659, "gallery": 82161}),
        ("veri776", {"train": 37778, "query": 1678, "gallery": 11579}),
    ],
)
def test_the_sets_of_the_paper_have_their_published_sizes(
    name: str, expected: dict[str, int]
) -> None:
    dataset = DatasetConfig.model_validate(
        compose_tree([f"dataset={name}"], EXPERIMENTS)["dataset"]
    )
    official = describe_source(dataset)
    assert official is not None
    assert {split: count.pictures for split, count in official.counts.items()} == expected
    assert official.page and official.terms and official.layout
    # None of them may be passed on.
    assert not dataset.redistributable


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_drawn_or_own_set_claims_to_be_a_published_one(name: str) -> None:
    tree: dict[str, Any] = compose_tree([f"dataset={name}"], EXPERIMENTS)["dataset"]
    dataset = DatasetConfig.model_validate(tree)
    own = dataset.source_type in ("birds", "vehicles", "folder", "table") or name == "market"
    assert (describe_source(dataset) is None) == own


def test_only_public_archives_have_an_address_and_each_has_a_checksum() -> None:
    fetched = set()
    for name in PUBLISHED:
        tree = compose_tree([f"dataset={name}"], EXPERIMENTS)["dataset"]
        official = describe_source(DatasetConfig.model_validate(tree))
        for file in official.files if official is not None else ():
            assert official is not None
            algorithm, _, digest = file.checksum.partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64}[algorithm]
            assert bool(file.urls) == official.is_fetched
            fetched |= {name} if file.urls else set()
    assert fetched == {"cub", "aircraft"}


def test_every_source_takes_the_question() -> None:
    for name in list_sources():
        if name not in ("aircraft", "market", "msmt17"):  # which need their options
            describe_source(make_dataset(source_type=name))
