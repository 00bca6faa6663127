"""Fetch a folder that is used in place again where it changed; run before `dvc repro` (ours).

DVC does not see a folder outside its graph, and would take an old listing from its cache. So the
fetch stage is forced here, and what depends on it then follows by itself.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from dcal.config import ConfigError, DatasetConfig, load_config
from dcal.data.raw import IN_PLACE_FILE, compute_listing_digest, locate_source
from dcal.paths import raw_folder

logger = logging.getLogger(__name__)
FETCH_AGAIN = (sys.executable, "-m", "dvc", "repro", "--force", "--single-item", "fetch")


def main() -> None:
    """Read params.yaml and compare its folder, if it is used in place, with the last listing."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        dataset = load_config("params.yaml").dataset
        changed = has_changed(dataset)
    except (ConfigError, FileNotFoundError) as error:
        sys.exit(f"watch: {error}")
    if changed:
        logger.info("%s changed since it was listed", dataset.source)
        sys.exit(subprocess.run(FETCH_AGAIN).returncode)


def has_changed(dataset: DatasetConfig) -> bool:
    """Say whether a folder that was listed before looks different now.

    Raises:
        FileNotFoundError: The folder is gone.
    """
    record = raw_folder(dataset.name) / IN_PLACE_FILE
    if dataset.source is None or not record.is_file():
        return False
    folder = locate_source(dataset)
    found = {"path": str(folder), "listing_sha256": compute_listing_digest(folder)}
    return bool(json.loads(record.read_text(encoding="utf-8")) != found)


if __name__ == "__main__":
    main()
