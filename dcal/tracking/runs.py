"""Start a run with its name, parameters and tags, or go on with one (ours)."""

from __future__ import annotations

import importlib.util
import logging
import os
from datetime import datetime

from dcal.config import Config
from dcal.tracking.environment import Environment
from dcal.tracking.journal import Journal
from dcal.tracking.record import RunRecord
from dcal.tracking.sender import Sender
from dcal.tracking.spool import Entry, find_spool
from dcal.tracking.store import describe_tracking_uri, find_tracking_uri
from dcal.tracking.tracker import NullTracker, SpooledTracker, Tracker

logger = logging.getLogger(__name__)

DIGEST_LENGTH = 12  # of a tag to look at, as of fingerprints; the run's data set has more of it


def start_run(
    config: Config,
    *,
    environment: Environment,
    fingerprint: str,
    data_digest: str,
    run_key: str,
    started: datetime,
    kind: str = "train",
    label: str = "",
    parent_key: str | None = None,
) -> Tracker:
    """Open a run in the MLflow experiment named after the data set, or go on with it.

    Parameters, tags and the data's digest are written here, once. Nothing here waits for a server.

    Args:
        config: The whole tree.
        environment: From `describe_environment`.
        fingerprint: Of parameters, data and code.
        data_digest: Of the index.
        run_key: 32 hexadecimal digits; the same ones go on with the same run.
        started: When the run began; all its points' times count from there.
        kind: The tag `dcal.kind`: train, evaluate, ...
        label: What the run's name begins with, such as the file that was scored.
        parent_key: The run key of the run that this one is shown below, of the same data set; it is
            made at the server after that one.

    Returns:
        A tracker; one that keeps nothing where MLflow is not installed, with a warning.
    """
    find_tracking_uri()  # refuses a folder before anything is written
    tags = _describe(environment) | {
        # What MLflow's pages call the source: the stage, or what was run without DVC.
        "mlflow.source.name": os.environ.get("DVC_STAGE") or kind,
        "mlflow.source.type": "LOCAL",
        "dcal.kind": kind,
        "dcal.fingerprint": fingerprint,
        "dcal.data_digest": data_digest[:DIGEST_LENGTH],
    }
    name = f"{label} {name_run(config)}".strip()
    origin = {
        "kind": "create",
        "uri": describe_tracking_uri(),
        "experiment": config.dataset.name,
        "name": name,
        "tags": tags,
        "start_time": _to_milliseconds(started),
    }
    if parent_key is not None:
        origin["parent_key"] = parent_key
    tracker = _open_tracker(run_key, origin)
    tracker.set_tags(tags)
    tracker.log_params(config.model_dump(mode="json"))
    tracker.log_dataset(config.dataset.name, data_digest)
    if tracker.run_key is not None:
        logger.info("MLflow run %r of %s", name, describe_tracking_uri())
    return tracker


def resume_run(record: RunRecord) -> Tracker:
    """Go on with the run of a record, so that later stages add to what train started.

    What earlier stages said and MLflow does not have yet is sent first. Where that was said on
    another machine, the run is found by its id, or by its key.

    Returns:
        A tracker; one that keeps nothing where the run was not tracked.
    """
    key = record.run_key or record.run_id
    if key is None:
        return NullTracker()
    find_tracking_uri()
    origin = {
        "kind": "bind",
        "uri": describe_tracking_uri(),
        "experiment": record.dataset.name,
        "run_id": record.run_id,
        "start_time": _to_milliseconds(datetime.fromisoformat(record.started)),
    }
    return _open_tracker(key, origin)


def read_last_words(run_key: str) -> tuple[str, dict[str, str]] | None:
    """Return the status and the tags that a run of this work root was last given.

    None where it said nothing here, or what it said was freed because MLflow has it.
    """
    spool = find_spool(run_key)
    if not spool.journal.is_file():
        return None
    journal = Journal(spool)
    journal.close()
    return journal.known.status, dict(journal.known.tags)


def _open_tracker(run_key: str, origin: Entry) -> Tracker:
    if importlib.util.find_spec("mlflow") is None:
        logger.warning(
            "mlflow is not installed (pip install 'dcal[track]'): the run is kept in results/ only"
        )
        return NullTracker()
    spool = find_spool(run_key)
    try:
        journal = Journal(spool)
        journal.append(origin)
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): the run is kept in results/ only",
            spool.place,
            error.strerror or error,
        )
        return NullTracker()
    sender = Sender(spool)
    sender.start()
    tracker = SpooledTracker(spool, journal, sender)
    tracker.set_status("RUNNING")
    return tracker


def _to_milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def name_run(config: Config) -> str:
    """Return a name to read, such as `r0.3 seed0 class_local dcal_pico`.

    What is varied most stands first, because MLflow's tables and legends cut a name after some 24
    letters; the data set is the name of the experiment.
    """
    model = config.model
    parts = []
    # With the class read-out nothing is selected, so R would only mislead.
    if model.glca_blocks and model.readout != "class":
        parts.append(f"r{model.top_r:g}")
    if not model.pwca_blocks:
        parts.append("no_pwca" if model.glca_blocks else "sa_only")
    elif not model.glca_blocks:
        parts.append("no_glca")
    parts.append(f"seed{config.seed}")
    if model.glca_blocks:
        parts.append(model.readout)
    return " ".join([*parts, model.backbone.partition("_patch")[0]])


def _describe(environment: Environment) -> dict[str, str]:
    tags = {
        "git.commit": environment.git_commit,
        "git.dirty": environment.git_dirty,
        "mlflow.source.git.commit": environment.git_commit,
        "dvc.exp_name": environment.dvc_exp_name,
        "dcal.torch": environment.versions.get("torch"),
        "dcal.device": environment.device,
        "dcal.threads": environment.threads,
    }
    return {key: str(value) for key, value in tags.items() if value is not None}
