"""Which runs the MLflow of this place has (ours)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dcal.tracking.store import connect, find_tracking_uri

logger = logging.getLogger(__name__)
SQLITE = "sqlite:///"


def find_runs(experiment: str, fingerprints: Sequence[str]) -> dict[str, str]:
    """Return the newest run's id for each fingerprint that has a run; empty without MLflow.

    Nothing is made where there is no database yet, and a server that does not answer has no runs.

    Args:
        experiment: The name of the MLflow experiment, which is that of the data set.
        fingerprints: As trainings are tagged.
    """
    try:
        uri = find_tracking_uri()
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
            return {}
        client = connect()
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return {}
        runs = client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])
    except Exception as error:  # a table is worth more than its links
        logger.warning("MLflow was not asked for runs: %s", " ".join(str(error).split())[:200])
        return {}
    wanted = set(fingerprints)
    pairs = ((run.data.tags.get("dcal.fingerprint"), run.info.run_id) for run in runs)
    return {key: run_id for key, run_id in pairs if key in wanted}
