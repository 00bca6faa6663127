"""Stage prepare: make data/index/<name>, one checked row a picture."""

from __future__ import annotations

import logging

from rich.progress import Progress

from dcal.config import load_config
from dcal.data.index import write_index
from dcal.data.indexing import build_index
from dcal.data.raw import raw_root
from dcal.data.sources import describe_source
from dcal.paths import index_folder
from pipelines.guard import leave_with_dvc
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    """Read params.yaml, list and decode the pictures, and write the index and its report."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dataset = load_config("params.yaml").dataset
    official = describe_source(dataset)
    if official is not None:
        logger.info("terms: %s", official.terms)
    with Progress(transient=True) as progress:
        task = progress.add_task("Reading pictures", total=None)
        table, report = build_index(
            dataset,
            raw_root(dataset),
            on_picture=lambda done, total: progress.update(task, completed=done, total=total),
        )
    write_index(index_folder(dataset.name), table, report)
    counts = ", ".join(f"{count} {split}" for split, count in report.counts.items())
    classes = "train identities" if dataset.kind == "reid" else "classes"
    logger.info("%s: %d %s; %s", dataset.name, report.num_classes, classes, counts)
    for warning in report.warnings:
        logger.warning("warning: %s", warning)


if __name__ == "__main__":
    with leave_with_dvc():
        run_stage(main, "prepare")
