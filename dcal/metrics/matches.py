"""Which gallery pictures are positives of a query, and which are left out (ours).

Q = queries, G = gallery pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray
from torch import Tensor

UNKNOWN = -1


@dataclass(frozen=True)
class Matches:
    """Identities and cameras of both sides as small whole numbers, and the gallery by identity."""

    query_identities: NDArray[np.int64]  # (Q,)
    query_cameras: NDArray[np.int64]  # (Q,), UNKNOWN where not known
    gallery_cameras: NDArray[np.int64]  # (G,)
    is_junk: NDArray[np.bool_]  # (G,) of the junk identity: in no ranking
    order: NDArray[np.int64]  # gallery positions, by identity, then by position
    starts: NDArray[np.int64]  # where in `order` an identity begins, and the end

    @property
    def num_queries(self) -> int:
        """Count the queries."""
        return len(self.query_identities)

    @property
    def num_without_identity(self) -> int:
        """Count the queries whose identity the gallery lacks."""
        return sum(len(self.find_same(query)[0]) == 0 for query in range(self.num_queries))

    def drop_junk(self) -> Matches:
        """Return the same without the gallery pictures of the junk identity."""
        is_kept = ~self.is_junk
        renumbered = np.cumsum(is_kept) - 1
        is_listed = is_kept[self.order]
        starts = np.concatenate([[0], np.cumsum(is_listed)])[self.starts]
        return replace(
            self,
            gallery_cameras=self.gallery_cameras[is_kept],
            is_junk=self.is_junk[is_kept],
            order=renumbered[self.order[is_listed]],
            starts=starts,
        )

    def find_same(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the gallery positions of the query's identity, ascending, and which are junk."""
        identity = self.query_identities[query]
        same = self.order[self.starts[identity] : self.starts[identity + 1]]
        same = same[~self.is_junk[same]]
        camera = self.query_cameras[query]
        is_junk = (self.gallery_cameras[same] == camera) & (camera != UNKNOWN)
        return same, is_junk


def find_matches(
    query_identities: Sequence[Any] | NDArray[Any] | pd.Series | Tensor,
    gallery_identities: Sequence[Any] | NDArray[Any] | pd.Series | Tensor,
    query_cameras: Sequence[Any] | NDArray[Any] | pd.Series | Tensor | None,
    gallery_cameras: Sequence[Any] | NDArray[Any] | pd.Series | Tensor | None,
    *,
    junk_identity: Any,
    num_queries: int,
    num_gallery: int,
) -> Matches:
    """Prepare the search for positives.

    Raises:
        ValueError: Counts that disagree, an identity that is missing, identities or cameras of two
            kinds, or cameras of one side only.
    """
    if (query_cameras is None) != (gallery_cameras is None):
        side = "query" if query_cameras is None else "gallery"
        raise ValueError(
            f"cameras: expected them for both sides or for none; the {side} side has none. "
            "Where a picture's camera is not known, -1 says so"
        )
    queries = _to_series(query_identities, num_queries, what="query identities")
    gallery = _to_series(gallery_identities, num_gallery, what="gallery identities")
    for series, what in ((queries, "query"), (gallery, "gallery")):
        if series.isna().any():
            position = int(series.isna().to_numpy().argmax())
            raise ValueError(
                f"{what} identities: expected one a picture; position {position}: none"
            )
    codes, names = _encode(queries, gallery, what="identities")
    gallery_codes = codes[num_queries:]
    cameras = _encode_cameras(query_cameras, gallery_cameras, num_queries, num_gallery)
    order = np.argsort(gallery_codes, kind="stable")
    return Matches(
        query_identities=codes[:num_queries],
        query_cameras=cameras[:num_queries],
        gallery_cameras=cameras[num_queries:],
        is_junk=_find_junk(gallery, junk_identity),
        order=order,
        starts=np.searchsorted(gallery_codes[order], np.arange(len(names) + 1)),
    )


def _find_junk(gallery: pd.Series, junk_identity: Any) -> NDArray[np.bool_]:
    if _get_kind(gallery) == "text":
        junk_identity = None if junk_identity is None else str(junk_identity)
    if junk_identity is None or isinstance(junk_identity, str) != (_get_kind(gallery) == "text"):
        return np.zeros(len(gallery), dtype=bool)
    return (gallery == junk_identity).to_numpy(dtype=bool, copy=True)


def _encode_cameras(
    queries: Any, gallery: Any, num_queries: int, num_gallery: int
) -> NDArray[np.int64]:
    if queries is None:
        return np.full(num_queries + num_gallery, UNKNOWN)
    codes, names = _encode(
        _to_series(queries, num_queries, what="query cameras"),
        _to_series(gallery, num_gallery, what="gallery cameras"),
        what="cameras",
    )
    is_negative = np.array(
        [name == "-1" if isinstance(name, str) else name < 0 for name in names], dtype=bool
    )
    # Code -1, of what is missing, takes the last.
    return np.where(np.append(is_negative, True)[codes], UNKNOWN, codes)


def _encode(
    queries: pd.Series, gallery: pd.Series, *, what: str
) -> tuple[NDArray[np.int64], pd.Index]:
    kinds = {_get_kind(series) for series in (queries, gallery) if series.notna().any()}
    if len(kinds) > 1:
        raise ValueError(
            f"{what}: expected one kind on both sides, whole numbers or texts; got "
            f"{_get_kind(queries)}s for the queries and {_get_kind(gallery)}s for the gallery"
        )
    if queries.dtype != gallery.dtype:
        # Of two widths of numbers pandas makes floats, which cannot tell large ones apart.
        queries, gallery = queries.astype(object), gallery.astype(object)
    codes, names = pd.factorize(pd.concat([queries, gallery], ignore_index=True))
    return codes.astype(np.int64), pd.Index(names)


def _get_kind(series: pd.Series) -> str:
    is_text = {isinstance(value, str) for value in series.dropna().unique()}
    return "mixture" if len(is_text) > 1 else "text" if True in is_text else "number"


def _is_collection(value: Any) -> bool:
    return isinstance(value, list | tuple | dict | np.ndarray)


def _to_series(values: Any, expected: int, *, what: str) -> pd.Series:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    # A list keeps its own numbers: beside None pandas would make floats of them.
    is_array = isinstance(values, np.ndarray | pd.Series | pd.Index | ExtensionArray)
    series = pd.Series(values if is_array else pd.Series(list(values), dtype=object))
    series = series.reset_index(drop=True)
    if series.dtype == object and series.map(_is_collection).any():
        raise ValueError(f"{what}: expected one number or text a picture; got lists")
    if len(series) != expected:
        raise ValueError(f"{what}: expected {expected}, one a feature; got {len(series)}")
    return series
