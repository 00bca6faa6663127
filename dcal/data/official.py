"""What a published set officially is: page, terms, files and counts (facts: the sets' own)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from dcal.data.partial import UNOFFICIAL
from dcal.data.remote_file import Download


class OfficialCountError(ValueError):
    """A set with other counts than its official ones, and `dataset.allow_partial` is false."""


@dataclass(frozen=True)
class Count:
    """One split's official numbers; None = not known, so that it is not compared.

    `groups` are classes or, of a Re-ID set, identities from 1: neither junk nor distractors.
    """

    pictures: int
    groups: int | None = None
    cameras: int | None = None


@dataclass(frozen=True)
class OfficialSet:
    """A published data set.

    `counts` are those of the official splits, before any picture is held out for val. `files` are
    the archives that it comes in, those that `dataset.source` may hold or, where `is_fetched`, that
    are downloaded. `layout` names what must lie in its folder.
    """

    title: str
    page: str
    terms: str
    counts: Mapping[str, Count]
    layout: str
    files: tuple[Download, ...] = ()
    is_fetched: bool = False
    caution: str | None = None  # stands in every report

    def describe_request(self) -> str:
        """Say in one sentence what `dataset.source` should be where nothing is downloaded."""
        files = "; ".join(describe_file(file) for file in self.files)
        held = f" (officially: {files})" if files else ""
        return (
            f"dataset.source: expected your folder or archive of {self.title}, which is not "
            f"downloaded; got null. It holds {self.layout}{held}. Official page: {self.page}. "
            f"{self.terms}"
        )


def compare_counts(
    table: pd.DataFrame, official: OfficialSet, *, kind: str, allow_partial: bool
) -> list[str]:
    """Compare the official splits with the official numbers; return what differs as a warning.

    `table` has split, label and, for Re-ID, identity and camera, and nothing held out yet.

    Raises:
        OfficialCountError: They differ, and `allow_partial` is false.
    """
    differing = list(_list_differences(table, official.counts, kind=kind))
    if not differing:
        return []
    message = f"{official.title}: {'; '.join(differing)}"
    if not allow_partial:
        raise OfficialCountError(
            f"{message}. Get the whole set, or set dataset.allow_partial to true to go on with a "
            "warning that every table of results carries"
        )
    return [f"{UNOFFICIAL} {message}"]


def _list_differences(
    table: pd.DataFrame, counts: Mapping[str, Count], *, kind: str
) -> Iterator[str]:
    is_reid = kind == "reid"
    for split, expected in counts.items():
        rows = table.loc[table["split"] == split]
        groups = rows.loc[rows["identity"] > 0, "identity"] if is_reid else rows["label"]
        found = {"pictures": len(rows), "identities" if is_reid else "classes": groups.nunique()}
        wanted = [expected.pictures, expected.groups]
        if expected.cameras is not None:
            found["cameras"] = rows["camera"].nunique()
            wanted.append(expected.cameras)
        for (what, number), official in zip(found.items(), wanted, strict=True):
            if official is not None and number != official:
                yield f"expected {official} {split} {what}, found {number}"


def describe_file(file: Download) -> str:
    """Return a file's name, size where it is known, and checksum."""
    return ", ".join([file.file_name, *_describe_size(file.num_bytes), file.checksum])


def _describe_size(num_bytes: int | None) -> list[str]:
    if num_bytes is None:
        return []
    return [f"{num_bytes / 1e6:,.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.0f} kB"]
