"""Approximate search of large galleries with FAISS (its guidelines, our measurements).

FAISS' guidelines: few searches are fastest without an index, which would not be paid back; where
memory is no concern, an HNSW graph is the best one. Measured on 2 cores beside other work, 100,000
embeddings of width 384, 1,000 queries, ten nearest each: exactly 1.0 to 1.6 s. HNSW32 is built in
16 to 28 s; at efSearch 64 it takes 0.24 to 0.39 s, with recall 0.99 where the embeddings vary in 32
dimensions, 0.93 in 128, 0.75 in all 384. IVF1264 is built in 14 s and takes 0.31 s at recall 0.94
in 32 dimensions. So what a model's embeddings give is measured at every search.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dcal.inference.features import compute_pictures_digest
from dcal.inference.gallery import Gallery
from dcal.paths import write_atomically
from dcal.write_errors import WriteError

logger = logging.getLogger(__name__)

_NUM_LINKS = 32  # of a picture in the graph
_EF_SEARCH = 64  # candidates kept while searching: at least, and twice the number asked for


def is_available() -> bool:
    """Say whether FAISS can be imported."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def search_approximately(gallery: Gallery, queries: Tensor, *, num: int) -> NDArray[np.int64]:
    """Return the positions of about the `num` nearest pictures of each query, (Q, K).

    The graph is built at the first search and kept in the gallery's folder.

    Raises:
        RuntimeError: FAISS is not installed.
    """
    index = _open_index(gallery)
    index.hnsw.efSearch = max(_EF_SEARCH, 2 * num)
    _, positions = index.search(np.ascontiguousarray(queries.numpy()), min(num, len(gallery)))
    return np.asarray(positions, dtype=np.int64)


def _open_index(gallery: Gallery) -> Any:
    faiss = _import_faiss()
    path = gallery.place / f"hnsw-{_compute_digest(gallery)}.faiss"
    if path.is_file():
        try:
            index = faiss.read_index(str(path))
        except RuntimeError:
            logger.warning("%s: damaged, and built anew", path)
        else:
            if (index.ntotal, index.d) == tuple(gallery.embeddings.shape):
                return index
    return _build_index(faiss, gallery, path)


def _compute_digest(gallery: Gallery) -> str:
    """Name what the graph was built from: another process may have replaced the gallery."""
    features = gallery.features
    pictures = compute_pictures_digest(features.table)
    text = f"{pictures} {features.recipe.model_dump_json()} {gallery.card.branch}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _build_index(faiss: Any, gallery: Gallery, path: Path) -> Any:
    logger.info("building the graph of %d pictures", len(gallery))
    index = faiss.IndexHNSWFlat(gallery.embeddings.shape[1], _NUM_LINKS)
    index.add(np.ascontiguousarray(gallery.embeddings.numpy()))
    try:
        with write_atomically(path) as temporary:
            faiss.write_index(index, str(temporary))
    except WriteError as error:
        logger.warning("the graph is not kept, and the next search builds it again: %s", error)
    return index


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise RuntimeError(
            "approximate search needs FAISS, which is not installed: pip install 'dcal[gallery]', "
            "or search with --exact"
        ) from None
    return faiss
