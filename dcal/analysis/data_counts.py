"""What an index holds, counted: splits, classes or identities, cameras, copies (ours).

A group is a class, or for Re-ID an identity; junk and distractors of a gallery are none. Tables are
those of `dcal.data.index`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dcal.data.identities import DISTRACTOR, JUNK
from dcal.data.index import SPLITS

UNKNOWN = "unknown"
UNKNOWN_CAMERA = 0  # of the tables here; cameras count from 1
GROUP_NAMES = {"fgvc": ("class", "classes"), "reid": ("identity", "identities")}


def list_splits(table: pd.DataFrame) -> list[str]:
    """Return the splits that have pictures, in the order of `SPLITS`."""
    present = set(table["split"])
    return [split for split in SPLITS if split in present]


def count_splits(table: pd.DataFrame, *, kind: str) -> pd.DataFrame:
    """Count by split.

    Args:
        table: The index.
        kind: dataset.kind, fgvc or reid.

    Returns:
        A row a split: pictures, classes or identities; cameras and views with the pictures that
        lack them, where any are known; for Re-ID distractors and junk.
    """
    rows = {}
    for split in list_splits(table):
        part = table[table["split"] == split]
        counts = {"pictures": len(part), GROUP_NAMES[kind][1]: int(_name_groups(part).nunique())}
        for column, many in (("camera", "cameras"), ("view", "views")):
            if table[column].notna().any():
                counts[many] = int(part[column].nunique())
                counts[f"{column} {UNKNOWN}"] = int(part[column].isna().sum())
        if kind == "reid":
            counts["distractors"] = int((part["identity"] == DISTRACTOR).sum())
            counts["junk"] = int((part["identity"] == JUNK).sum())
        rows[split] = counts
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split")


def count_groups(table: pd.DataFrame, *, class_names: Sequence[str] = ()) -> pd.DataFrame:
    """Count the pictures of each group in each split.

    Args:
        table: The index.
        class_names: In label order, for classes; one without pictures in a split is 0 there.

    Returns:
        Columns split, group (label or identity), pictures, cameras (known ones).
    """
    named = table.assign(group=_name_groups(table)).dropna(subset="group")
    grouped = named.groupby(["split", "group"])
    counts = pd.DataFrame({"pictures": grouped.size(), "cameras": grouped["camera"].nunique()})
    is_classes = table["identity"].isna().all()
    if is_classes:
        groups = range(len(class_names) or int(table["label"].max()) + 1)
        wanted = pd.MultiIndex.from_product([list_splits(table), groups], names=["split", "group"])
        counts = counts.reindex(wanted, fill_value=0)
    order = {split: rank for rank, split in enumerate(SPLITS)}
    counts = counts.reset_index().astype({"group": "int64"})
    return counts.sort_values(["split", "group"], key=lambda of: of.replace(order)).reset_index(
        drop=True
    )


def summarise_groups(groups: pd.DataFrame, *, column: str = "pictures") -> pd.DataFrame:
    """Return how evenly the pictures (or cameras) of a table of `count_groups` are spread.

    Returns:
        A row a split: groups, fewest, median, most, without any, with one only.
    """
    by_split = groups.groupby("split", sort=False)[column]
    return pd.DataFrame(
        {
            "groups": by_split.size(),
            "fewest": by_split.min(),
            "median": by_split.median(),
            "most": by_split.max(),
            "with none": by_split.agg(lambda counts: int((counts == 0).sum())),
            "with one": by_split.agg(lambda counts: int((counts == 1).sum())),
        }
    )


def count_cameras(table: pd.DataFrame) -> pd.DataFrame:
    """Count pictures by camera and split; empty where no camera is known."""
    if table["camera"].isna().all():
        return pd.DataFrame()
    counts = pd.crosstab(_number_cameras(table), table["split"])
    counts = counts.reindex(columns=list_splits(table)).rename_axis(columns=None, index="camera")
    return counts.rename(index=name_camera)


def count_camera_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Count pairs of a query and a gallery picture that is right for it, by their cameras.

    What the camera rule leaves out of a ranking is not counted.

    Returns:
        A row a camera of the queries, a column a camera of the gallery; empty where no camera is
        known.
    """
    if table["camera"].isna().all():
        return pd.DataFrame()
    numbered = table.assign(camera=_number_cameras(table))
    sides = {
        split: numbered[(numbered["split"] == split) & (numbered["identity"] > DISTRACTOR)]
        for split in ("query", "gallery")
    }
    query, gallery = (
        part.groupby(["identity", "camera"]).size().rename("count").reset_index()
        for part in sides.values()
    )
    pairs = query.merge(gallery, on="identity", suffixes=("_query", "_gallery"))
    is_left_out = (pairs["camera_query"] == pairs["camera_gallery"]) & (
        pairs["camera_query"] != UNKNOWN_CAMERA
    )
    pairs["count"] = (pairs["count_query"] * pairs["count_gallery"]).where(~is_left_out, 0)
    counts = pairs.pivot_table(
        index="camera_query", columns="camera_gallery", values="count", aggfunc="sum"
    )
    cameras = {split: sorted(part["camera"].unique()) for split, part in sides.items()}
    counts = counts.reindex(index=cameras["query"], columns=cameras["gallery"])
    counts = counts.fillna(0).astype("int64")
    counts = counts.rename(index=name_camera, columns=name_camera)
    return counts.rename_axis(index="query camera", columns="gallery camera")


def count_copies(table: pd.DataFrame) -> pd.DataFrame:
    """Count pictures that are there more than once, byte for byte.

    Returns:
        A row and a column a split: pictures of the row's split that the column's has too; on the
        diagonal those that another picture of the same split is equal to.
    """
    digests = {split: table.loc[table["split"] == split, "sha256"] for split in list_splits(table)}
    counts = {
        split: {
            other: int((own.duplicated(keep=False) if other == split else own.isin(of)).sum())
            for other, of in digests.items()
        }
        for split, own in digests.items()
    }
    return pd.DataFrame.from_dict(counts, orient="index").rename_axis("pictures of")


def count_torn(table: pd.DataFrame) -> int:
    """Count different pictures (by their bytes) that stand under more than one group."""
    named = pd.DataFrame({"sha256": table["sha256"], "group": _name_groups(table)})
    return int((named.groupby("sha256")["group"].nunique() > 1).sum())


def name_camera(number: int) -> str:
    """Return a camera's number as a text."""
    return UNKNOWN if number == UNKNOWN_CAMERA else str(number)


def _number_cameras(table: pd.DataFrame) -> pd.Series:
    return table["camera"].fillna(UNKNOWN_CAMERA).astype("int64")


def _name_groups(table: pd.DataFrame) -> pd.Series:
    """Return the label or identity of each picture; nothing for junk and distractors."""
    if table["identity"].isna().all():
        return table["label"]
    return table["identity"].where(table["identity"] > DISTRACTOR)
