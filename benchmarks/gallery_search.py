"""From which size of a gallery on FAISS' graph is worth its building, and at which recall.

    python -m benchmarks.gallery_search [--sizes 100000 ...] [--output PATH]

Embeddings are drawn: 64 dimensions of their 384 carry nearly all that varies, as a model's do. Ten
nearest are asked for. The graph is built once (`build_seconds`), then read from disk and searched,
as each `dcal search` does; exact searching reads nothing more than the gallery itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from torch.nn import functional as F

from benchmarks.machine import describe_machine
from dcal.inference.approximate import search_approximately
from dcal.inference.features import Features
from dcal.inference.gallery import Gallery, GalleryCard
from dcal.inference.recipe import Recipe
from dcal.metrics.nearest import compute_recall, find_nearest

SIZES = (100_000, 250_000, 500_000)
WIDTH, NUM_VARYING, NUM = 384, 64, 10
QUERIES = (1, 100, 1000)


def main() -> None:
    """Measure each size, print and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    record: dict[str, Any] = {
        "machine": describe_machine("cpu", torch.get_num_threads()),
        "width": WIDTH,
        "rows": [],
    }
    for size in arguments.sizes:
        record["rows"].append(measure(size))
        print(json.dumps(record["rows"][-1]), flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def measure(size: int) -> dict[str, Any]:
    """Time exact and approximate searches of one gallery."""
    values = draw(size + max(QUERIES))
    queries = values[size:]
    row: dict[str, Any] = {"gallery": size, "queries": []}
    with TemporaryDirectory() as folder:
        gallery = make_gallery(values[:size], Path(folder))
        row["build_seconds"] = run(lambda: search_approximately(gallery, queries[:1], num=NUM))[0]
        for count in QUERIES:
            asked = queries[:count]
            exact_seconds, exact = run(partial(find_nearest, asked, values[:size], num=NUM))
            seconds, found = run(partial(search_approximately, gallery, asked, num=NUM))
            row["queries"].append(
                {
                    "queries": count,
                    "exact_seconds": exact_seconds,
                    "graph_seconds": seconds,
                    "recall": compute_recall(found, exact.positions),
                }
            )
    return row


def draw(count: int) -> torch.Tensor:
    """Draw embeddings of length 1, (count, width)."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(NUM_VARYING, WIDTH, generator=generator)
    values = torch.empty(count, WIDTH)
    for part in values.split(20_000):
        part.copy_(torch.randn(len(part), NUM_VARYING, generator=generator) @ basis)
        part += torch.empty_like(part).normal_(generator=generator)
    return F.normalize(values, dim=1)


def make_gallery(values: torch.Tensor, place: Path) -> Gallery:
    """Make a gallery of embeddings without pictures."""
    paths = [f"{number}.jpg" for number in range(len(values))]
    table = pd.DataFrame({"path": paths, "sha256": paths})
    recipe = Recipe(model_digest="", model={}, preprocessing={}, flip=False)
    card = GalleryCard(pictures=".", model=".", branch="both", num_waiting=0)
    return Gallery(place, card, Features(table, {"both": values}, recipe))


def run(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that work took, and what it returned."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


if __name__ == "__main__":
    main()
