"""Stage fetch: bring a data set's pictures to data/raw/<name>, or note the user's own folder."""

from __future__ import annotations

import logging

from dcal.config import load_config
from dcal.data.fetching import fetch_dataset
from dcal.data.raw import raw_root
from pipelines.guard import leave_with_dvc
from pipelines.stage import run_stage


def main() -> None:
    """Read params.yaml and fetch its data set."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dataset = load_config("params.yaml").dataset
    fetch_dataset(dataset)
    logging.getLogger(__name__).info("%s: pictures in %s", dataset.name, raw_root(dataset))


if __name__ == "__main__":
    with leave_with_dvc():
        run_stage(main, "fetch")
