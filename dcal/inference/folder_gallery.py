"""A gallery to search: a saved one, or a folder of pictures that is embedded for it (ours)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dcal.inference.gallery import is_gallery
from dcal.inference.gallery_building import BuildOptions, BuildSummary, embed_folder
from dcal.inference.gallery_plan import OnProgress

logger = logging.getLogger(__name__)


@contextmanager
def open_place(
    place: str | Path,
    *,
    model_path: str | Path | None,
    device: torch.device,
    allow_partial: bool = False,
    on_progress: OnProgress | None = None,
) -> Iterator[tuple[Path, BuildSummary | None]]:
    """Yield the folder of a gallery, and of a folder of pictures also what became of these.

    The latter's embeddings lie in a temporary folder and go with it.

    Args:
        place: A gallery, or a folder of pictures.
        model_path: What embeds a folder; a gallery knows its own.
        device: Where the model runs.
        allow_partial: Leave out pictures of a folder that cannot be decoded.
        on_progress: Called with (what is being done, done, total).

    Raises:
        FileNotFoundError: Neither a gallery nor a folder.
        ValueError: A folder without a model, without pictures, or with damaged ones.
    """
    place = Path(place)
    if is_gallery(place) or not place.is_dir():
        yield place, None  # whoever reads it says what is wrong
        return
    if model_path is None:
        raise ValueError(
            f"{place}: expected a gallery; it is a folder without gallery.json: name the model "
            "that embeds its pictures with --model, or, to search it often, make a gallery once: "
            f"dcal embed MODEL {place} --output {place}.gallery"
        )
    options = BuildOptions(allow_partial=allow_partial)
    with tempfile.TemporaryDirectory(prefix="dcal-search-") as temporary:
        gallery = Path(temporary, "gallery")
        summary = embed_folder(
            model_path, place, gallery, options, device=device, on_progress=on_progress
        )
        yield gallery, summary
