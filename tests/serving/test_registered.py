"""`mlflow.pyfunc.load_model` in process: paths, bytes and arrays, and the model's own answers."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcal.inference.opening import find_model, load_model
from dcal.serving import predictor
from dcal.serving.pictures import DATA_URL
from dcal.serving.registration import register_model
from dcal.tracking.store import connect
from tests.project import ROOT
from tests.serving.conftest import Registry


@pytest.fixture(autouse=True)
def here(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCAL_WORK_ROOT", str(registry.root))


@pytest.fixture(scope="module")
def served(registry: Registry) -> Any:
    import warnings

    import mlflow

    mlflow.set_tracking_uri(registry.uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model("models:/shapes@champion")


def test_paths_bytes_and_arrays_get_the_models_own_answers(served, registry) -> None:
    import torch

    from dcal.inference.prediction import predict_pictures

    model = load_model(registry.root / "model.safetensors")
    own = predict_pictures(model, registry.pictures, device=torch.device("cpu"), num=1).table
    contents = [path.read_bytes() for path in registry.pictures]
    forms = {
        "paths": [str(path) for path in registry.pictures],
        "bytes": contents,
        "arrays": [np.asarray(Image.open(path).convert("RGB")) for path in registry.pictures],
        "data URLs": [DATA_URL + base64.b64encode(each).decode() for each in contents],
    }
    for name, pictures in forms.items():
        answers = served.predict(pictures)
        assert [each["class_name"] for each in answers] == own["class_name"].tolist(), name
        assert [each["probability"] for each in answers] == pytest.approx(
            own["probability"].tolist(), abs=1e-6
        )


def test_a_picture_that_cannot_be_read_is_named_by_its_position(served, registry) -> None:
    good = registry.pictures[0].read_bytes()
    with pytest.raises(ValueError, match=r"^picture 1: cannot be decoded \(it is not a picture"):
        served.predict([good, b"%PDF-1.7"])
    with pytest.raises(ValueError, match=r"^picture 0: .*gone.png: no such file"):
        served.predict(["gone.png"])
    with pytest.raises(ValueError, match=r"8-bit RGB array .* got float64 \(4, 4, 3\)"):
        served.predict([np.zeros((4, 4, 3))])
    with pytest.raises(ValueError, match="expected at least one picture; got none"):
        served.predict([])


def test_where_it_is_served_a_path_is_refused_and_base64_taken(
    served, registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "is_served", lambda: True)
    with pytest.raises(ValueError, match="a path is not read: it would be a file of this server"):
        predict_bare(registry, str(registry.pictures[0]))
    text = base64.b64encode(registry.pictures[0].read_bytes()).decode()
    assert predict_bare(registry, text)[0]["label"] in (0, 1, 2)


def predict_bare(registry: Registry, picture: str) -> list[dict[str, Any]]:
    model = load_model(registry.root / "model.safetensors")
    return predictor.Predictor(model).predict([picture])


@pytest.mark.parametrize("name", ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "__pyfunc_model_path__"])
def test_a_server_is_known_by_what_mlflow_sets(name: str, monkeypatch) -> None:
    assert not predictor.is_served()
    monkeypatch.setenv(name, "true")
    assert predictor.is_served()


def test_a_registered_model_opens_by_name_and_version(registry: Registry) -> None:
    own = load_model(registry.root / "model.safetensors").state_dict()
    for name in ("models:/shapes@champion", "models:/shapes/1"):
        found = load_model(name).state_dict()
        assert all((found[key] == own[key]).all() for key in own)
    with pytest.raises(ValueError, match="models:/shapes@other: sqlite:///mlflow.db has none"):
        find_model("models:/shapes@other")


def test_a_registered_model_opens_in_a_process_that_knows_nothing_of_mlflow(
    registry: Registry, tmp_path: Path
) -> None:
    # Where something set MLflow's own address before, another registry would be found by chance.
    code = "import dcal; print(dcal.load_model('models:/shapes@champion').card['class_names'])"
    environment = {**os.environ, "DCAL_WORK_ROOT": str(registry.root), "PYTHONPATH": str(ROOT)}
    told = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True
    )
    assert told.startswith("['one', ") and list(tmp_path.iterdir()) == []


def test_a_model_that_was_deleted_from_the_registry_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_model(registry.root / "model.safetensors", "gone", alias="champion", run_id=None)
    assert find_model("models:/gone@champion").is_file()  # and kept for the next time
    connect().delete_registered_model("gone")
    for name in ("models:/gone@champion", "models:/gone/1"):
        with pytest.raises(ValueError, match=f"{name}: sqlite:///mlflow.db has none; make ui"):
            find_model(name)


@pytest.mark.parametrize(
    ("name", "alias", "sentence"),
    [
        ("a/b", None, "name: expected letters, digits, blanks and . _ -; got 'a/b'"),
        ("shapes", "v2", "alias: expected letters, digits, _ and -"),
        ("shapes", "latest", "alias: expected letters, digits, _ and -"),
    ],
)
def test_a_name_that_mlflow_would_not_take_is_refused(registry, name, alias, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        register_model(registry.root / "model.safetensors", name, alias=alias, run_id=None)


def test_the_version_leads_to_a_run_that_says_what_it_is_for(registry: Registry) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(registry.uri)
    version = client.get_model_version("shapes", "1")
    run = client.get_run(version.run_id)
    assert run.data.tags["dcal.kind"] == "register" and run.info.status == "FINISHED"
