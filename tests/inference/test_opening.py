"""A model by any of its names, and what is said where there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dcal import load_model
from dcal.inference.opening import find_model, find_run
from dcal.paths import compute_file_digest, work_root
from dcal.tracking.models import describe_model_file
from dcal.tracking.store import connect, find_experiment
from tests.inference.model_files import write_model


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    root = work_root()
    write_model(root / "runs/train/model.safetensors")
    monkeypatch.chdir(root)
    return root


def make_run(**tags: str) -> str:
    client = connect()
    return client.create_run(find_experiment(client, "birds"), tags=tags).info.run_id


def test_a_file_is_itself(root: Path) -> None:
    assert find_model("runs/train/model.safetensors") == Path("runs/train/model.safetensors")
    assert load_model("runs/train/model.safetensors").card["class_names"][0] == "one"


@pytest.mark.parametrize("prefix", ["", "runs:/"])
def test_a_run_leads_to_the_file_it_wrote(root: Path, prefix: str) -> None:
    run_id = make_run(**describe_model_file("runs/train/model.safetensors"))
    path = find_model(prefix + run_id)
    assert path == root / "runs/train/model.safetensors"
    assert find_run(prefix + run_id, path) == run_id


def test_a_run_whose_file_was_replaced_leads_to_dvcs_copy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [root / "runs/train" / name for name in ("model.safetensors", "model.json")]
    run_id = make_run(**describe_model_file("runs/train/model.safetensors"))
    digests = [compute_file_digest(path, algorithm="md5") for path in files]
    for path, digest in zip(files, digests, strict=True):
        place = root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True)
        path.rename(place)
    write_model(root / "runs/train/model.safetensors", seed=3)
    for _ in range(2):  # found anew, then where it was put
        path = find_model(run_id)
        assert path != files[0] and load_model(path).card["class_names"][0] == "one"
        assert compute_file_digest(path, algorithm="md5") == digests[0]


def test_a_run_whose_file_is_gone_says_where_it_can_be_had(root: Path) -> None:
    run_id = make_run(**describe_model_file("runs/train/model.safetensors"))
    (root / "runs/train/model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"nor in DVC's cache; check out its commit and"):
        find_model(run_id)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("0" * 32, r"run 0{32}: sqlite:///mlflow.db has none; make ui shows what it has"),
        ("models:/nothing@champion", r"models:/nothing@champion: sqlite:///mlflow.db has none"),
        ("models:/nothing/3", r"models:/nothing/3: sqlite:///mlflow.db has none"),
        ("models:/nothing", r"models:/nothing: expected models:/NAME@ALIAS or models:/NAME/VERS"),
        (".", r"\.: expected a model file, such as model.safetensors; it is a folder"),
        ("nothing", r"nothing: expected a model file, the id of an MLflow run \(32 hexadecimal"),
    ],
)
def test_an_unknown_name_is_one_sentence(root: Path, name: str, sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        load_model(name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_run_that_left_no_model_says_what_it_is(root: Path) -> None:
    run_id = make_run(**{"dcal.kind": "study"})
    with pytest.raises(ValueError, match=r"tagged with no model file.*RUNNING, of kind study"):
        find_model(run_id)


def test_a_server_that_does_not_answer_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RuntimeError, match=r"http://127.0.0.1:9 does not answer \(connection ref"):
        find_model("0" * 32)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x10\0\0\0\0\0\0\0{}"])
def test_a_truncated_file_or_none_of_ours_is_told(root: Path, content: bytes) -> None:
    path = root / "runs/train/model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: not a readable safetensors file")):
        load_model(path)
