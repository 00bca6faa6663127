"""What an index for re-identification must keep to, and what in it would mislead (ours).

Identities are the set's own numbers, from 1; as in Market-1501, -1 marks junk (neither right nor
wrong) and 0 a distractor (always wrong), and both stand in the gallery only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

JUNK = -1
DISTRACTOR = 0


def label_identities(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Label train pictures by the place of their identity in sorted order, and all others -1.

    Returns:
        The table with `label`, and the train identities as texts in label order, such as 0002.
    """
    is_train = table["split"] == "train"
    identities = sorted(set(table.loc[is_train, "identity"]))
    labels = {identity: label for label, identity in enumerate(identities)}
    of_rows = [
        labels[identity] if in_train else -1
        for identity, in_train in zip(table["identity"], is_train, strict=True)
    ]
    return table.assign(label=of_rows), [f"{identity:04d}" for identity in identities]


def check_identities(table: pd.DataFrame, *, num_classes: int) -> None:
    """Check the identities, labels and cameras of an index.

    Raises:
        ValueError: One sentence on the first rule that is broken.
    """
    missing = [name for name in ("train", "query", "gallery") if name not in set(table["split"])]
    if missing:
        raise ValueError(
            f"index splits: expected pictures in train, query and gallery; none in {missing}"
        )
    _check_numbers(table)
    by_split = {str(split): set(rows["identity"]) for split, rows in table.groupby("split")}
    if len(by_split["train"]) < 2:
        raise ValueError(
            "index identities: expected two in train at least, because one alone cannot be told "
            f"from another; got {len(by_split['train'])}"
        )
    trained = table.loc[table["split"] == "train"]
    expected = np.searchsorted(sorted(by_split["train"]), trained["identity"])
    other_labels = table.loc[table["split"] != "train", "label"]
    if (
        not np.array_equal(expected, trained["label"])
        or num_classes != len(by_split["train"])
        or not (other_labels == -1).all()
    ):
        raise ValueError(
            f"index labels: expected 0..{len(by_split['train']) - 1} in train, in the order of the "
            "sorted identities, and -1 elsewhere; got others"
        )
    _require_apart(by_split)


def describe_identities(table: pd.DataFrame) -> list[str]:
    """Count what would mislead a reader of the scores, one sentence each."""
    return [
        *_describe_copies(table),
        *_describe_matchless(table),
        *_describe_single(table),
        *_describe_cameras(table),
    ]


def _check_numbers(table: pd.DataFrame) -> None:
    for column in ("identity", "camera"):
        values = table.get(column, pd.Series(pd.NA, index=table.index, dtype="Int64"))
        known = values.dropna()
        if not pd.api.types.is_integer_dtype(values):
            shown = repr(known.tolist()[0]) if len(known) else "nothing"
            raise ValueError(f"index {column}: expected whole numbers; got {shown}")
        if column == "identity" and len(known) < len(values):
            path = table["path"][values.isna()].iloc[0]
            raise ValueError(f"index identity: expected one for every picture; {path} has none")
        if column == "camera" and (known < 1).any():
            path = table["path"][known.index[known < 1][0]]
            raise ValueError(
                f"index camera: expected a number from 1, or none where it is not known; {path} "
                f"has {known[known < 1].iloc[0]}"
            )
    in_gallery = table["split"] == "gallery"
    is_wrong = (table["identity"] < JUNK) | (~in_gallery & (table["identity"] <= DISTRACTOR))
    if is_wrong.any():
        first = table[is_wrong].iloc[0]
        raise ValueError(
            "index identity: expected a number from 1, and in the gallery also -1 (junk) or 0 "
            f"(distractor); {first['path']} of {first['split']} has {first['identity']}"
        )


def _require_apart(by_split: dict[str, set[int]]) -> None:
    tested = by_split["query"] | by_split["gallery"]
    for name, identities, others, other_name in (
        ("val", by_split.get("val", set()), by_split["train"], "train"),
        ("train", by_split["train"], tested, "query or gallery"),
        ("val", by_split.get("val", set()), tested, "query or gallery"),
    ):
        shared = sorted(identities & others)
        if shared:
            raise ValueError(
                f"index identities: {len(shared)} of {name} are in {other_name} too, such as "
                f"{shared[0]}; one that was trained on cannot test: remove its pictures from one "
                "of the two"
            )


def _describe_copies(table: pd.DataFrame) -> list[str]:
    """Count queries whose own bytes are in the gallery and stay in the ranking.

    VeRi-776's queries all are, under their own camera, whose pictures the camera rule leaves out.
    """
    columns = ["sha256", "identity", "camera"]
    queries = table.loc[table["split"] == "query", columns].reset_index(names="row")
    gallery = table.loc[(table["split"] == "gallery") & (table["identity"] != JUNK), columns]
    pairs = queries.merge(gallery, on="sha256", suffixes=("", "_copy"))
    is_same = pairs["identity"] == pairs["identity_copy"]
    is_left_out = (pairs["camera"] == pairs["camera_copy"]).fillna(False).astype(bool)
    warnings = []
    num_flattering = pairs.loc[is_same & ~is_left_out, "row"].nunique()
    if num_flattering:
        warnings.append(
            f"{num_flattering} of {len(queries)} query pictures are also in the gallery, byte for "
            "byte, under another camera or one that is not known: a match that flatters the scores"
        )
    num_torn = pairs.loc[~is_same, "row"].nunique()
    if num_torn:
        warnings.append(
            f"{num_torn} of {len(queries)} query pictures are also in the gallery, byte for byte, "
            "under another identity"
        )
    return warnings


def _describe_matchless(table: pd.DataFrame) -> list[str]:
    warnings = []
    for split, against in (("query", "gallery"), ("val", "val")):
        queries = table.loc[table["split"] == split]
        counts = _count_matches(queries, table.loc[table["split"] == against])
        if split == against:
            # Under a known camera the rule leaves the picture itself out already.
            counts -= queries["camera"].isna().to_numpy()
        num_matchless = int((counts == 0).sum())
        if num_matchless:
            warnings.append(
                f"{num_matchless} of {len(queries)} {split} pictures have no match to be found: no "
                f"{against} picture of their identity under another camera"
            )
    return warnings


def _count_matches(queries: pd.DataFrame, gallery: pd.DataFrame) -> NDArray[np.int64]:
    """Count for each query the gallery pictures of its identity that the camera rule leaves."""
    of_identity = gallery.groupby("identity").size().to_dict()
    of_camera = gallery.groupby(["identity", "camera"]).size().to_dict()
    return np.array(
        [
            of_identity.get(identity, 0)
            - (0 if camera is pd.NA else of_camera.get((identity, camera), 0))
            for identity, camera in zip(queries["identity"], queries["camera"], strict=True)
        ],
        dtype=np.int64,
    )


def _describe_single(table: pd.DataFrame) -> list[str]:
    sizes = table.loc[table["split"] == "train", "identity"].value_counts()
    num_single = int((sizes == 1).sum())
    if not num_single:
        return []
    return [
        f"{num_single} of {len(sizes)} train identities have one picture, so that no other picture "
        "shows what stays the same"
    ]


def _describe_cameras(table: pd.DataFrame) -> list[str]:
    num_unknown = int(table["camera"].isna().sum())
    if num_unknown == len(table):
        return ["no camera is known: no match is left out of a ranking for its camera"]
    warnings = []
    if num_unknown:
        warnings.append(
            f"the camera rule cannot be applied to {num_unknown} of {len(table)} pictures, whose "
            "camera is not known"
        )
    ranked = table.loc[table["split"].isin(["query", "gallery"]), "camera"]
    if ranked.nunique(dropna=False) == 1 and ranked.notna().all():
        warnings.append(
            f"all query and gallery pictures are of camera {ranked.iloc[0]}, so that the camera "
            "rule leaves no query a match"
        )
    return warnings
