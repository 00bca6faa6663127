"""Trained models that MLflow knows: of a run, by its tags, or registered (ours).

MLflow holds no copy of a run's model: DVC does. A registered model is MLflow's own copy.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dcal.paths import compute_file_digest
from dcal.tracking.answers import describe_failure
from dcal.tracking.store import connect, describe_tracking_uri, find_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_TAG, DIGEST_TAG, CARD_TAG = "dcal.model", "dvc.model_md5", "dvc.card_md5"
REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/]+)|/(?P<version>\d+))")


class RunModel(NamedTuple):
    """The model file of a run, as its tags name it."""

    run_id: str
    path: str  # below the work root
    model_md5: str
    card_md5: str


class RegisteredModel(NamedTuple):
    """A version of a registered model."""

    name: str
    version: str
    run_id: str | None
    source: str  # where MLflow keeps it; another one where the name was deleted and taken again


def describe_model_file(path: str | Path) -> dict[str, str]:
    """Return the tags that lead from a run to the model file it wrote, and to DVC's copy of it."""
    path = Path(path)
    return {
        MODEL_TAG: path.as_posix(),
        DIGEST_TAG: compute_file_digest(path, algorithm="md5"),
        CARD_TAG: compute_file_digest(path.with_suffix(".json"), algorithm="md5"),
    }


def read_run_model(run_id: str) -> RunModel:
    """Return what a run's tags say of its model file.

    Raises:
        ValueError: MLflow has no such run, or the run left no model.
        RuntimeError: MLflow does not answer.
    """
    run = _ask(f"run {run_id}", lambda client: client.get_run(run_id))
    tags = run.data.tags
    if not {MODEL_TAG, DIGEST_TAG, CARD_TAG} <= set(tags):
        raise ValueError(
            f"run {run_id}: it is tagged with no model file, as a finished run of the train stage "
            f"is; it is {run.info.status}, of kind {tags.get('dcal.kind', 'unknown')}"
        )
    return RunModel(run_id, tags[MODEL_TAG], tags[DIGEST_TAG], tags[CARD_TAG])


def read_scores(run_id: str) -> dict[str, float]:
    """Return a run's scores on the test split, by name.

    Raises:
        ValueError: MLflow has no such run.
        RuntimeError: MLflow does not answer.
    """
    run = _ask(f"run {run_id}", lambda client: client.get_run(run_id))
    return {key: each for key, each in sorted(run.data.metrics.items()) if key.startswith("test/")}


def find_registered(name: str) -> RegisteredModel:
    """Return the version that `models:/name@alias` or `models:/name/3` means.

    Raises:
        ValueError: It is no such name, or MLflow has no such model, version or alias.
        RuntimeError: MLflow does not answer.
    """
    match = REGISTERED.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{name}: expected models:/NAME@ALIAS or models:/NAME/VERSION, such as "
            "models:/birds@champion"
        )

    def find(client: MlflowClient) -> Any:
        if match["alias"]:
            return client.get_model_version_by_alias(match["name"], match["alias"])
        return client.get_model_version(match["name"], match["version"])

    found = _ask(name, find)
    return RegisteredModel(found.name, str(found.version), found.run_id or None, str(found.source))


def download_registered(model: RegisteredModel, folder: Path) -> None:
    """Copy the model file of a registered version, and its card, into `folder`."""
    from mlflow.artifacts import download_artifacts

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

    def download(client: MlflowClient) -> None:
        # By models:/ it would be looked for in the registry of the process, which is none of ours.
        place = client.get_model_version_download_uri(model.name, model.version)
        # Not the code, which lies beside: the one that runs here is used.
        download_artifacts(
            artifact_uri=f"{place}/artifacts",
            dst_path=str(folder),
            tracking_uri=find_tracking_uri(),
        )

    _ask(f"models:/{model.name}/{model.version}", download)


def _ask(what: str, question: Any) -> Any:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        return question(connect())
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise ValueError(
                f"{what}: {describe_tracking_uri()} has none; make ui shows what it has"
            ) from None
        raise RuntimeError(
            f"{what}: {describe_tracking_uri()} does not answer ({describe_failure(error)})"
        ) from None
    except RequestException as error:  # of a file, which MLflow asks for without a word of its own
        raise RuntimeError(
            f"{what}: {describe_tracking_uri()} does not give its files ({describe_failure(error)})"
        ) from None
