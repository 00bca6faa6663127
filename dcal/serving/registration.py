"""A trained model into MLflow's registry, with all that it needs to answer (ours)."""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

import dcal
from dcal.models.build import load_model
from dcal.models.dcal import DCAL
from dcal.serving.pictures import DATA_URL
from dcal.serving.quiet import quiet_mlflow
from dcal.tracking.answers import describe_failure
from dcal.tracking.store import connect, find_experiment, find_tracking_uri, mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

CODE = Path(__file__).with_name("served_model.py")
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "pillow", "pydantic", "safetensors",
            "einops", "jaxtyping", "scipy", "pyyaml", "torchmetrics", "mlflow")  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][\w. -]*")
_ALIAS = re.compile(r"[A-Za-z][\w-]*")
_VERSION_LIKE = re.compile(r"v\d+|latest", re.IGNORECASE)


class Registered(NamedTuple):
    """A new version in the registry."""

    name: str
    version: str
    run_id: str


def register_model(path: Path, name: str, *, alias: str | None, run_id: str | None) -> Registered:
    """Copy a model file into MLflow as a pyfunc model, and register it.

    Args:
        path: The model file, with its card beside it.
        name: Of the registered model; it is made where it is new.
        alias: What the new version is called from now on, such as champion.
        run_id: The run that made it, which the version then leads to; None = a run of its own.

    Raises:
        ValueError: A name or an alias that MLflow would not take; or a model that cannot be loaded.
        RuntimeError: MLflow cannot be reached, or refuses the model.
    """
    _require_names(name, alias)
    model = load_model(path)
    with mlflow_errors(f"model {name}"):
        return _register(model, path, name, alias=alias, run_id=run_id)


def _register(
    model: DCAL, path: Path, name: str, *, alias: str | None, run_id: str | None
) -> Registered:
    import mlflow

    client = connect()
    if run_id is not None and not _is_known(client, run_id):
        run_id = None
    mlflow.set_tracking_uri(find_tracking_uri())
    with quiet_mlflow(), _writing_to(client, model, run_id, name) as written:
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(CODE),
            artifacts={"model": str(path), "card": str(path.with_suffix(".json"))},
            code_paths=[str(Path(dcal.__file__).parent)],
            pip_requirements=[f"{each}=={metadata.version(each)}" for each in PACKAGES],
            input_example=_build_example(model),
            metadata={"dcal": dcal.__version__, "fingerprint": model.card.get("fingerprint")},
        )
        version = mlflow.register_model(logged.model_uri, name).version
    if alias:
        client.set_registered_model_alias(name, alias, version)
    return Registered(name, str(version), written)


def _require_names(name: str, alias: str | None) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"name: expected letters, digits, blanks and . _ -; got {name!r}")
    if alias and (not _ALIAS.fullmatch(alias) or _VERSION_LIKE.fullmatch(alias)):
        raise ValueError(
            f"alias: expected letters, digits, _ and -, such as champion, but not latest or v1; "
            f"got {alias!r}"
        )


def _is_known(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        logger.warning("run %s is not in this MLflow (%s)", run_id, describe_failure(error))
        return False
    return True


@contextmanager
def _writing_to(client: MlflowClient, model: DCAL, run_id: str | None, name: str) -> Iterator[str]:
    """Open the run that the model belongs to; one that ended keeps its state and its time."""
    import mlflow

    if run_id is None:
        experiment = find_experiment(client, model.card["config"]["dataset"]["name"])
        tags = {"dcal.kind": "register"}
        with mlflow.start_run(
            experiment_id=experiment, run_name=f"register {name}", tags=tags
        ) as run:
            yield run.info.run_id
        return
    before = client.get_run(run_id).info
    with mlflow.start_run(run_id=run_id):
        yield run_id
    client.set_terminated(run_id, status=before.status, end_time=before.end_time)


def _build_example(model: DCAL) -> list[str]:
    height, width = model.config.image_size
    shades = np.linspace(0, 255, height * width * 3).astype(np.uint8).reshape(height, width, 3)
    stream = io.BytesIO()
    Image.fromarray(shades).save(stream, "PNG")
    return [f"{DATA_URL}{base64.b64encode(stream.getvalue()).decode()}"]
