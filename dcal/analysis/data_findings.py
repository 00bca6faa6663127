"""What in a data set could mislead a result: looked for in its index, and told in sentences (ours).

A check returns a sentence, or nothing where it finds nothing; the first ones mislead most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from dcal.analysis.chance import (
    compute_majority_accuracy,
    count_candidates,
)
from dcal.analysis.data_counts import (
    GROUP_NAMES,
    count_camera_pairs,
    count_copies,
    count_groups,
    count_torn,
    list_splits,
)
from dcal.analysis.drawn import DRAWN_SOURCES
from dcal.analysis.picture_sizes import (
    STRETCHED,
    find_enlarged,
    find_input_size,
    measure_size_leak,
    measure_stretch,
)
from dcal.analysis.tables import compute_wilson_interval
from dcal.config import Config
from dcal.data.index import IndexReport, read_index
from dcal.paths import index_folder

UNEVEN = 3  # times as many pictures in the largest class as in the smallest
UNCERTAIN = 0.02  # half of a score's 95 % interval
MANY = 0.25  # share of pictures
FEW = 5  # test pictures of a class, of which each moves its accuracy by a fifth or more


class Finding(NamedTuple):
    """What was looked for, and what was found in a sentence without its full stop."""

    looked_for: str
    sentence: str  # empty: it is not so here


@dataclass(frozen=True)
class DataSet:
    """An index with what it was made for."""

    table: pd.DataFrame
    report: IndexReport
    config: Config

    @property
    def is_reid(self) -> bool:
        """Say whether pictures are ranked, not told apart by class."""
        return self.report.kind == "reid"

    @property
    def group(self) -> str:
        """Return what one class or identity is called."""
        return GROUP_NAMES[self.report.kind][0]

    @property
    def groups(self) -> str:
        """Return what several are called."""
        return GROUP_NAMES[self.report.kind][1]

    @property
    def has_cameras(self) -> bool:
        """Say whether the camera of any picture is known."""
        return bool(self.table["camera"].notna().any())

    @property
    def counted(self) -> list[str]:
        """Return the columns of `counts` that say something of this data set."""
        return ["pictures", "cameras"] if self.is_reid and self.has_cameras else ["pictures"]

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Return the table of `count_groups`."""
        return count_groups(self.table, class_names=() if self.is_reid else self.report.class_names)

    @cached_property
    def copies(self) -> pd.DataFrame:
        """Return the table of `count_copies`."""
        return count_copies(self.table)

    def select(self, split: str) -> pd.DataFrame:
        """Return a split's pictures."""
        return self.table[self.table["split"] == split]


def open_data_set(config: Config) -> DataSet:
    """Read the index that `prepare` wrote in the current directory.

    Raises:
        FileNotFoundError: There is none; the message names the command.
        ValueError: It is damaged, or of another version.
    """
    folder = index_folder(config.dataset.name)
    if not (folder / "index.parquet").is_file():
        raise FileNotFoundError(
            f"data set {config.dataset.name}: expected the index of the prepare stage, found none "
            "in this project; run: dvc repro prepare"
        )
    return DataSet(*read_index(folder), config)


def find_misleading(data: DataSet) -> list[Finding]:
    """Look for all that is known to mislead, for this kind of data set."""
    checks = {**_OF_ALL, **(_OF_REID if data.is_reid else _OF_CLASSES), **_OF_SIZES}
    return [Finding(name, check(data)) for name, check in checks.items()]


def _find_train_copies(data: DataSet) -> str:
    told = []
    for split in list_splits(data.table):
        count = int(data.copies["train"][split]) if split != "train" else 0
        if count:
            told.append(f"{count} of {len(data.select(split))} {split}")
    return f"{_join(told)} pictures are also in train, byte for byte" if told else ""


def _find_torn(data: DataSet) -> str:
    count = count_torn(data.table)
    stand = "picture stands" if count == 1 else "pictures stand"
    return f"{count} {stand} under more than one {data.group}" if count else ""


def _find_drawn(data: DataSet) -> str:
    if data.config.dataset.source_type not in DRAWN_SOURCES:
        return ""
    return "all pictures are drawn by a program, so that no score says anything of photographs"


def _find_selection(data: DataSet) -> str:
    if data.config.train.selection == "test":
        return "the weights are chosen by the test score that is reported (train.selection: test)"
    if not data.select("val").empty:
        return ""
    return "there is no val split, so that whoever compares settings by a score chooses on test"


def _find_left_out(data: DataSet) -> str:
    count = data.report.num_left_out
    are = "picture that cannot be read is" if count == 1 else "pictures that cannot be read are"
    return f"{count} {are} left out (dataset.allow_partial)" if count else ""


def _find_repeated(data: DataSet) -> str:
    told = []
    for split in ("val", "test", "query"):
        count = int(data.copies[split][split]) if split in data.copies else 0
        if count:
            told.append(f"{count} of {len(data.select(split))} {split}")
    return f"{_join(told)} pictures are there more than once and count as often" if told else ""


def _find_uncertain(data: DataSet) -> str:
    if data.is_reid:
        num, what = int((count_candidates(data.table)["num_positives"] > 0).sum()), "valid queries"
    else:
        num, what = len(data.select("test")), "test pictures"
    if not num:
        return ""
    low, high = compute_wilson_interval(0.5, num)
    half = (high - low) / 2
    if half < UNCERTAIN:
        return ""
    return (
        f"by {num} {what} a share near one half is known to {100 * half:.1f} points either way "
        "(95 %), and smaller differences may be those of the pictures"
    )


def _find_single(data: DataSet) -> str:
    sizes = data.counts.loc[data.counts["split"] == "train", "pictures"]
    count = int((sizes == 1).sum())
    return f"{count} of {len(sizes)} train {data.groups} have one picture" if count else ""


def _find_uneven(data: DataSet) -> str:
    sizes = data.counts[(data.counts["split"] == "train") & (data.counts["pictures"] > 0)]
    few, many = int(sizes["pictures"].min()), int(sizes["pictures"].max())
    if many < UNEVEN * few:
        return ""
    if data.is_reid:
        return f"train has {few} to {many} pictures an identity"
    order = sizes.sort_values("pictures", ascending=False, kind="stable")["group"].tolist()
    most, least = (data.report.class_names[order[place]] for place in (0, -1))
    return (
        f"train has {few} ({least}) to {many} ({most}) pictures a class, so that a score over all "
        "pictures hides the rare classes: read the mean over classes beside it"
    )


def _find_majority(data: DataSet) -> str:
    if data.select("test").empty:
        return ""
    majority, uniform = compute_majority_accuracy(data.table), 1 / data.report.num_classes
    if majority < 2 * uniform:
        return ""
    return (
        f"always naming the commonest class gets {percent(majority)} of test, against "
        f"{percent(uniform)} by guessing"
    )


def _find_thin_test(data: DataSet) -> str:
    sizes = data.counts.loc[data.counts["split"] == "test", "pictures"]
    num_thin = int((sizes < FEW).sum())
    if not num_thin:
        return ""
    num_empty = int((sizes == 0).sum())
    none = f", {num_empty} of them none" if num_empty else ""
    return (
        f"{num_thin} of {data.report.num_classes} classes have fewer than {FEW} test pictures"
        f"{none}, which say little of a class"
    )


def _find_size_leak(data: DataSet) -> str:
    leak = measure_size_leak(data.table)
    if leak is None:
        return ""
    low, _ = compute_wilson_interval(leak.accuracy, leak.num_pictures)
    if low <= leak.majority:
        return ""
    return (
        f"width and height alone name the class of {percent(leak.accuracy)} of the test pictures "
        f"(the commonest class: {percent(leak.majority)}), so that a model may learn where a "
        "picture comes from"
    )


def _find_matchless(data: DataSet) -> str:
    positives = count_candidates(data.table)["num_positives"]
    count = int((positives == 0).sum())
    if not count:
        return ""
    return (
        f"{count} of {len(positives)} queries have no right picture to be found: no score has them"
    )


def _find_unknown_cameras(data: DataSet) -> str:
    ranked = data.table.loc[data.table["split"].isin(["query", "gallery"]), "camera"]
    count = int(ranked.isna().sum())
    if not count:
        return ""
    return (
        f"the camera of {count} of {len(ranked)} query and gallery pictures is not known, so that "
        "near views of the same moment may count as found"
    )


def _find_single_camera(data: DataSet) -> str:
    trained = data.counts[data.counts["split"] == "train"]
    if data.select("train")["camera"].isna().all():
        return ""
    count = int((trained["cameras"] == 1).sum())
    if not count:
        return ""
    return (
        f"{count} of {len(trained)} train identities were seen by one camera, whose look may be "
        "learned in their place"
    )


def _find_camera_gaps(data: DataSet) -> str:
    pairs = count_camera_pairs(data.table)
    if pairs.empty or not pairs.to_numpy().sum():
        return ""
    counts, queries, gallery = pairs.to_numpy(), pairs.index.to_numpy(), pairs.columns.to_numpy()
    between = counts[queries[:, None] != gallery[None, :]]
    num_empty = int((between == 0).sum())
    if not num_empty:
        return ""
    row, column = divmod(int(counts.argmax()), counts.shape[1])
    share = percent(counts[row, column] / counts.sum())
    return (
        f"{num_empty} of {len(between)} ways from a query's camera to another have no match, and "
        f"the commonest, {queries[row]} to {gallery[column]}, has {share} of all"
    )


def _find_enlarged(data: DataSet) -> str:
    return _tell_sizes(
        data,
        lambda part, size: find_enlarged(part, size),
        "are smaller than what they are resized to, and hold less detail than the model's input",
    )


def _find_stretched(data: DataSet) -> str:
    return _tell_sizes(
        data,
        lambda part, size: measure_stretch(part, size) > STRETCHED,
        f"become over {STRETCHED:g} times wider or narrower when they are resized",
    )


def _tell_sizes(data: DataSet, find: Callable[..., pd.Series], what: str) -> str:
    told = []
    for split in list_splits(data.table):
        size = find_input_size(data.config, is_train=split == "train")
        share = float(find(data.select(split), size).mean())
        if share >= MANY:
            told.append(f"{percent(share)} of {split} ({size.width} x {size.height})")
    return f"{_join(told)} {what}" if told else ""


def percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.1f} %"


def _join(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


_OF_ALL: dict[str, Callable[[DataSet], str]] = {
    "pictures of train among those that are scored": _find_train_copies,
    "one picture under two names": _find_torn,
    "drawn pictures": _find_drawn,
    "choices made on test": _find_selection,
    "pictures left out": _find_left_out,
    "scored pictures that are there twice": _find_repeated,
    f"too few scored pictures for {100 * UNCERTAIN:g} points": _find_uncertain,
}
_OF_CLASSES: dict[str, Callable[[DataSet], str]] = {
    "a picture's size that tells its class": _find_size_leak,
    "a common class that guesses well": _find_majority,
    f"classes {UNEVEN} times as large as others in train": _find_uneven,
    f"classes with fewer than {FEW} test pictures": _find_thin_test,
    "classes with one train picture": _find_single,
}
_OF_REID: dict[str, Callable[[DataSet], str]] = {
    "queries without a match": _find_matchless,
    "unknown cameras": _find_unknown_cameras,
    "pairs of cameras without a match": _find_camera_gaps,
    "train identities of one camera": _find_single_camera,
    f"identities {UNEVEN} times as large as others in train": _find_uneven,
    "train identities with one picture": _find_single,
}
_OF_SIZES: dict[str, Callable[[DataSet], str]] = {
    f"{100 * MANY:g} % of pictures enlarged": _find_enlarged,
    f"{100 * MANY:g} % of pictures stretched": _find_stretched,
}
