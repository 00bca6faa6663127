"""Which runs the MLflow of this place has (ours)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dcal.tracking.answers import describe_failure
from dcal.tracking.store import connect, find_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)
SQLITE = "sqlite:///"
PAGE_SIZE = 1000


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
        runs = _list_runs(client, found.experiment_id)
    except Exception as error:  # a table is worth more than its links
        logger.warning("MLflow was not asked for runs: %s", describe_failure(error))
        return {}
    wanted = set(fingerprints)
    pairs = ((run.data.tags.get("dcal.fingerprint"), run.info.run_id) for run in runs)
    return {key: run_id for key, run_id in pairs if key in wanted}


def _list_runs(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Return all runs, oldest first; MLflow answers with a page of them at a time."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            order_by=["attributes.start_time ASC"],
            max_results=PAGE_SIZE,
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return runs
