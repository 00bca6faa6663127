"""Search a gallery with pictures: exactly, or approximately and with its recall (ours)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcal.data.measuring import measure_pictures
from dcal.inference.approximate import is_available, search_approximately
from dcal.inference.embedding import compute_embeddings
from dcal.inference.features import require_comparable, require_same_recipe
from dcal.inference.gallery import Gallery, read_gallery
from dcal.inference.gallery_plan import OnProgress
from dcal.inference.own_pictures import read_batches, require_decodable
from dcal.inference.recipe import open_embedder
from dcal.metrics.nearest import compute_recall, find_nearest, measure_distances

logger = logging.getLogger(__name__)

Method = Literal["auto", "exact", "approximate"]
# Reckoned from 100,000 of width 384, not measured at this size: there an exact search of 1,000
# queries took 1.0 to 1.6 s, and FAISS 0.3 s after 16 to 28 s for its graph.
EXACT_UP_TO = 500_000
_RECALL_QUERIES = 200  # of those given; searched exactly as well


@dataclass(frozen=True)
class SearchResult:
    """What was found, and how.

    The table has a row a query and rank: query, rank (from 1), name, distance (squared Euclidean,
    0 to 4), cosine.
    """

    table: pd.DataFrame
    gallery: Gallery
    is_exact: bool
    recall: float | None = None  # share of the exact answers found; None where exact
    num_recall_queries: int = 0
    left_out: tuple[Path, ...] = ()  # queries that cannot be decoded


def search_gallery(
    place: str | Path,
    queries: Sequence[Path],
    *,
    device: torch.device,
    num: int = 10,
    model_path: str | Path | None = None,
    method: Method = "auto",
    batch_size: int = 64,
    allow_partial: bool = False,
    on_progress: OnProgress | None = None,
) -> SearchResult:
    """Find the gallery pictures nearest to each query.

    Args:
        place: The gallery's folder.
        queries: Picture files; see `find_pictures`.
        device: Where the model runs.
        num: Answers for each query; all where the gallery has fewer.
        model_path: What embedded the gallery; None = where it was then.
        method: `auto` searches galleries of more than 500,000 pictures approximately where FAISS is
            installed.
        batch_size: Queries embedded at once.
        allow_partial: Leave out queries that cannot be decoded.
        on_progress: Called with (what is being done, done, total).

    Raises:
        FileNotFoundError: No gallery, model or picture.
        ValueError: A gallery of another model, a setting out of range, or queries that cannot be
            decoded and may not be left out.
        RuntimeError: Approximate search was asked for without FAISS.
    """
    if num < 1:
        raise ValueError(f"top: expected at least 1 answer for each query; got {num}")
    gallery = read_gallery(place)
    model_path = model_path or _find_model(gallery)
    model, transform, recipe = open_embedder(model_path, flip=gallery.features.recipe.flip)
    require_same_recipe(gallery.features.recipe, recipe, gallery.place)
    usable, left_out = _select_queries(
        queries, allow_partial=allow_partial, on_progress=on_progress
    )
    branch = gallery.card.branch
    _, embeddings = compute_embeddings(
        model,
        read_batches(usable, transform, batch_size=batch_size),
        branches=[branch],
        device=device,
        flip=recipe.flip,
        on_batch=None if on_progress is None else _count_up(on_progress, len(usable)),
    )
    require_comparable(embeddings, [str(query) for query in usable])
    names = [path.as_posix() for path in usable]
    result = search_embeddings(gallery, embeddings[branch], names, num=num, method=method)
    return replace(result, left_out=tuple(left_out))


def search_embeddings(
    gallery: Gallery, queries: Tensor, names: Sequence[str], *, num: int, method: Method = "auto"
) -> SearchResult:
    """Find the pictures nearest to embeddings (Q, width); `names` says what these are of."""
    if not _is_exact(gallery, method):
        positions = search_approximately(gallery, queries, num=num)
        return _measure_recall(gallery, queries, names, positions)
    nearest = find_nearest(queries, gallery.embeddings, num=num)
    table = _build_table(gallery, queries, names, nearest.positions)
    return SearchResult(table, gallery, is_exact=True)


def _select_queries(
    queries: Sequence[Path], *, allow_partial: bool, on_progress: OnProgress | None
) -> tuple[list[Path], list[Path]]:
    """Return the queries that can be decoded, and those that cannot and are left out."""
    table = pd.DataFrame({"path": [str(query) for query in queries]})
    usable, errors = measure_pictures(
        table,
        Path(),
        verify="pixels",
        on_picture=None if on_progress is None else lambda *done: on_progress("checking", *done),
    )
    require_decodable(errors, len(queries), what="queries", allow_partial=allow_partial)
    if usable.empty:
        raise ValueError(f"queries: none of the {len(queries)} pictures can be decoded")
    return [queries[row] for row in usable.index], [queries[row] for row in errors.index]


def _count_up(on_progress: OnProgress, total: int) -> Callable[[int], None]:
    num_done = 0

    def advance(count: int) -> None:
        nonlocal num_done
        num_done += count
        on_progress("embedding", num_done, total)

    return advance


def _find_model(gallery: Gallery) -> Path:
    if not gallery.model_path.is_file():
        raise FileNotFoundError(
            f"{gallery.place}: expected the model that embedded it at {gallery.model_path}; there "
            "is none: if it is elsewhere, name it with --model"
        )
    return gallery.model_path


def _is_exact(gallery: Gallery, method: Method) -> bool:
    if method != "auto":
        return method == "exact"
    if len(gallery) <= EXACT_UP_TO:
        return True
    if is_available():
        return False
    logger.warning(
        "%d pictures are searched exactly, because FAISS is not installed: "
        "pip install 'dcal[gallery]' for large galleries",
        len(gallery),
    )
    return True


def _measure_recall(
    gallery: Gallery, queries: Tensor, names: Sequence[str], positions: NDArray[np.int64]
) -> SearchResult:
    """Search some of the queries exactly as well, evenly spread over them."""
    num_sampled = min(_RECALL_QUERIES, len(queries))
    sample = np.linspace(0, len(queries) - 1, num_sampled).round().astype(np.int64)
    exact = find_nearest(
        queries[torch.from_numpy(sample)], gallery.embeddings, num=positions.shape[1]
    )
    return SearchResult(
        _build_table(gallery, queries, names, positions),
        gallery,
        is_exact=False,
        recall=compute_recall(positions[sample], exact.positions),
        num_recall_queries=num_sampled,
    )


def _build_table(
    gallery: Gallery, queries: Tensor, names: Sequence[str], positions: NDArray[np.int64]
) -> pd.DataFrame:
    distances = measure_distances(queries, gallery.embeddings, positions)
    # FAISS puts equal distances in any order; where nothing was found is NaN, which comes last.
    order = np.lexsort((positions, distances), axis=1)
    positions = np.take_along_axis(positions, order, axis=1)
    distances = np.take_along_axis(distances, order, axis=1)
    num_queries, num = positions.shape
    own = np.asarray(gallery.names, dtype=object)
    table = pd.DataFrame(
        {
            "query": np.repeat(np.asarray(names, dtype=object), num),
            "rank": np.tile(np.arange(1, num + 1), num_queries),
            "name": own[positions.ravel()],
            "distance": distances.ravel(),
            "cosine": 1 - distances.ravel() / 2,
        }
    )
    # An approximate search may give up before it has found as many as were asked for.
    return table[positions.ravel() >= 0].reset_index(drop=True)
