"""Have a folder that is used in place listed anew where it changed; run before `dvc repro` (ours).

DVC does not see a folder outside its graph. Taking away its old listing makes the fetch stage run
again, and with it what depends on it.
"""

from __future__ import annotations

import json
import logging
import sys

from dcal.config import ConfigError, load_config
from dcal.data.raw import IN_PLACE_FILE, compute_listing_digest, locate_source
from dcal.paths import raw_folder

logger = logging.getLogger(__name__)


def main() -> None:
    """Read params.yaml and compare its folder, if it is used in place, with the last listing."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        dataset = load_config("params.yaml").dataset
        record = raw_folder(dataset.name) / IN_PLACE_FILE
        if dataset.source is None or not record.is_file():
            return
        folder = locate_source(dataset)
    except (ConfigError, FileNotFoundError) as error:
        sys.exit(f"watch: {error}")
    listed = json.loads(record.read_text(encoding="utf-8"))
    found = {"path": str(folder), "listing_sha256": compute_listing_digest(folder)}
    if listed != found:
        logger.info("%s changed since it was listed: its pictures are prepared again", folder)
        record.unlink()


if __name__ == "__main__":
    main()
