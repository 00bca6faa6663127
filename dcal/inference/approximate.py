"""Approximate search of large galleries with FAISS (index chosen by its wiki and by measuring).

FAISS' guidelines: few searches are fastest exact, since an index is not paid back; where memory is
no concern, an HNSW graph is the best index; it takes additions only. Measured on 2 cores with
100,000 embeddings of width 384 (benchmarks are in the change that added this): HNSW32 built in 16 s
and 1,000 searches of ten at recall 0.99 took 0.25 s, an inverted file of 1,264 lists built in 14 s
and took 0.31 s at recall 0.94, and exactly they took 1.0 s.
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
