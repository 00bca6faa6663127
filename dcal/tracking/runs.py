"""Start a run with its name, parameters and tags, or go on with one (ours)."""

from __future__ import annotations

import importlib.util
import logging
import os

from dcal.config import Config
from dcal.tracking.environment import Environment
from dcal.tracking.record import RunRecord
from dcal.tracking.store import connect, describe_tracking_uri, find_experiment
from dcal.tracking.tracker import MlflowTracker, NullTracker, Tracker

logger = logging.getLogger(__name__)


def start_run(
    config: Config,
    *,
    environment: Environment,
    fingerprint: str,
    data_digest: str,
    kind: str = "train",
    name_suffix: str = "",
) -> Tracker:
    """Open a new MLflow run in the experiment named after the data set.

    Parameters, tags and the data's digest are written here, once.

    Args:
        config: The whole tree.
        environment: From `describe_environment`.
        fingerprint: Of parameters, data and code.
        data_digest: Of the index.
        kind: The tag `dcal.kind`: train, evaluate, ...
        name_suffix: What the run's name has at its end, such as the file that was scored.

    Returns:
        A tracker; one that keeps nothing where MLflow is not installed, with a warning.
    """
    if importlib.util.find_spec("mlflow") is None:
        logger.warning(
            "mlflow is not installed (pip install 'dcal[track]'): the run is kept in results/ only"
        )
        return NullTracker()
    client = connect()
    experiment = find_experiment(client, config.dataset.name)
    tags = _describe(environment) | {
        "dcal.kind": kind,
        "dcal.fingerprint": fingerprint,
        "dcal.data_digest": data_digest,
    }
    name = f"{name_run(config)} {name_suffix}".strip()
    run = client.create_run(experiment, run_name=name, tags=tags)
    tracker = MlflowTracker(client, run.info.run_id)
    tracker.log_params(config.model_dump(mode="json"))
    tracker.log_dataset(config.dataset.name, data_digest)
    logger.info("MLflow run %r of %s", name, describe_tracking_uri())
    return tracker


def resume_run(record: RunRecord) -> Tracker:
    """Go on with the run of a record, so that later stages add to what train started.

    Returns:
        A tracker; one that keeps nothing where the run was not tracked or is not to be found,
        which is a warning.
    """
    if record.run_id is None:
        return NullTracker()
    if importlib.util.find_spec("mlflow") is None:
        logger.warning("mlflow is not installed: run %s gets no further scores", record.run_id)
        return NullTracker()
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    client = connect()
    try:
        return MlflowTracker(client, record.run_id)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        logger.warning(
            "%s has no run %s (it was tracked elsewhere): scores are kept in results/ only",
            describe_tracking_uri(),
            record.run_id,
        )
        return NullTracker()


def name_run(config: Config) -> str:
    """Return a name to read, such as `birds dcal_pico class_local r0.3 seed0`."""
    model = config.model
    backbone = model.backbone.partition("_patch")[0]
    parts = [config.dataset.name, backbone]
    if model.glca_blocks:
        parts.append(model.readout)
        # With the class read-out nothing is selected, so R would only mislead.
        parts += [f"r{model.top_r:g}"] if model.readout != "class" else []
    if not model.pwca_blocks:
        parts.append("no_pwca" if model.glca_blocks else "sa_only")
    elif not model.glca_blocks:
        parts.append("no_glca")
    return " ".join([*parts, f"seed{config.seed}"])


def _describe(environment: Environment) -> dict[str, str]:
    tags = {
        "git.commit": environment.git_commit,
        "git.dirty": environment.git_dirty,
        "mlflow.source.git.commit": environment.git_commit,
        "dvc.exp_name": environment.dvc_exp_name,
        "dvc.stage": os.environ.get("DVC_STAGE"),
        "dcal.torch": environment.versions.get("torch"),
        "dcal.device": environment.device,
        "dcal.threads": environment.threads,
    }
    return {key: str(value) for key, value in tags.items() if value is not None}
