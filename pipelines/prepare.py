"""Stage prepare: make data/index/<name>, one checked row a picture, and resize the pictures.

They are resized where `dataset.cache` is on, into data/cached/<name>, which is no out of DVC's.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from rich.progress import Progress

from dcal.config import CacheConfig, load_config
from dcal.data.index import IndexReport, write_index
from dcal.data.indexing import build_index
from dcal.data.raw import raw_root
from dcal.data.sources import describe_source
from dcal.paths import cached_root, index_folder
from pipelines.guard import leave_with_dvc
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    """Read params.yaml, list, decode and resize the pictures, and write index and report."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dataset = load_config("params.yaml").dataset
    official = describe_source(dataset)
    if official is not None:
        logger.info("terms: %s", official.terms)
    root = raw_root(dataset)
    with Progress(transient=True) as progress:
        task = progress.add_task("Reading pictures", total=None)
        table, report = build_index(
            dataset,
            root,
            on_picture=lambda done, total: progress.update(task, completed=done, total=total),
        )
    write_index(index_folder(dataset.name), table, report)
    counts = ", ".join(f"{count} {split}" for split, count in report.counts.items())
    classes = "train identities" if dataset.kind == "reid" else "classes"
    logger.info("%s: %d %s; %s", dataset.name, report.num_classes, classes, counts)
    for warning in report.warnings:
        logger.warning("warning: %s", warning)
    if dataset.cache is not None:
        resize(dataset.cache, table, report, root)


def resize(cache: CacheConfig, table: pd.DataFrame, report: IndexReport, root: Path) -> None:
    """Resize the pictures, unless that was done."""
    # Only here, because it brings torch: 600 MiB that listing and decoding do without.
    from dcal.data.cached import write_cache

    with Progress(transient=True) as progress:
        task = progress.add_task("Resizing pictures", total=len(table))
        is_new = write_cache(
            report.dataset,
            cache,
            table=table,
            root=root,
            index_digest=report.digest,
            on_picture=lambda done, total: progress.update(task, completed=done, total=total),
        )
    folder = cached_root() / report.dataset
    logger.info("%s: %s", folder, "pictures resized" if is_new else "pictures are up to date")


if __name__ == "__main__":
    with leave_with_dvc():
        run_stage(main, "prepare")
