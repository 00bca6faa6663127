"""A trained model by any of its names: a file, an MLflow run, or a registered model (ours)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from dcal.models import build
from dcal.models.dcal import DCAL
from dcal.paths import compute_file_digest, replace_folder, work_root

_RUN = re.compile(r"(?:runs:/)?(?P<run_id>[0-9a-f]{32})")
_REGISTERED = "models:/"
# Kept, so that a gallery finds the model that embedded it.
FETCHED = Path("runs/models")
_FILES = ("model.safetensors", "model.json")


def load_model(name: str | Path) -> DCAL:
    """Load a trained model in evaluation mode; its card is in `model.card`.

    Args:
        name: See `find_model`.

    Raises:
        FileNotFoundError, ValueError: No such model, or a file that does not match its card.
        RuntimeError: MLflow does not answer.
    """
    return build.load_model(find_model(name))


def find_model(name: str | Path) -> Path:
    """Return the file of a trained model.

    Args:
        name: A file that the train stage wrote, such as `runs/train/model.safetensors`; the id of
            an MLflow run, or `runs:/<id>`; or a registered model, `models:/birds@champion` or
            `models:/birds/3`.

    Raises:
        FileNotFoundError: The run's model is neither where it was written nor in DVC's cache.
        ValueError: There is no such run or registered model.
        RuntimeError: MLflow does not answer.
    """
    text = str(name)
    if text.startswith(_REGISTERED):
        return _fetch_registered(text)
    match = _RUN.fullmatch(text)
    if match is not None and not Path(text).exists():
        return _find_of_run(match["run_id"])
    path = Path(name)
    if path.is_dir():
        raise FileNotFoundError(
            f"{path}: expected a model file, such as {path / _FILES[0]}; it is a folder"
        )
    if not path.exists() and not path.suffix:
        raise FileNotFoundError(
            f"{name}: expected a model file, the id of an MLflow run (32 hexadecimal digits) or "
            "models:/NAME@ALIAS; there is no such file"
        )
    return path


def find_run(name: str | Path, path: Path) -> str | None:
    """Return the MLflow run that made a model, where that is known.

    Args:
        name: What the model was called; see `find_model`.
        path: The file that it means.
    """
    match = _RUN.fullmatch(str(name))
    if match is not None:
        return match["run_id"]
    if str(name).startswith(_REGISTERED):
        from dcal.tracking.models import find_registered

        return find_registered(str(name)).run_id
    record = work_root() / "results/train/run.json"
    card = path.with_suffix(".json")
    if not record.is_file() or not card.is_file():
        return None
    run = json.loads(record.read_text(encoding="utf-8"))
    fingerprint = json.loads(card.read_text(encoding="utf-8")).get("fingerprint")
    return run.get("run_id") if fingerprint and run.get("fingerprint") == fingerprint else None


def _find_of_run(run_id: str) -> Path:
    from dcal.tracking.models import read_run_model

    run = read_run_model(run_id)
    wanted = (run.model_md5, run.card_md5)
    written = work_root() / run.path
    for path in (written, work_root() / FETCHED / run_id / _FILES[0]):
        if _digest_both(path) == wanted:
            return path
    cached = [_cache_folder() / digest[:2] / digest[2:] for digest in wanted]
    if not all(path.is_file() for path in cached):
        raise FileNotFoundError(
            f"run {run_id}: its model (md5 {run.model_md5}) is neither {run.path} now nor in DVC's "
            "cache; check out its commit and run: dvc pull train"
        )
    folder = work_root() / FETCHED / run_id
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replace_folder(folder) as target:
        for path, file in zip(cached, _FILES, strict=True):
            os.symlink(path, target / file)
    return folder / _FILES[0]


def _digest_both(path: Path) -> tuple[str, ...] | None:
    files = (path, path.with_suffix(".json"))
    if not all(file.is_file() for file in files):
        return None
    return tuple(compute_file_digest(file, algorithm="md5") for file in files)


def _cache_folder() -> Path:
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=work_root())
    place = found.stdout.strip() if found.returncode == 0 else ".dvc/cache"
    return work_root() / place / "files" / "md5"


def _fetch_registered(name: str) -> Path:
    from dcal.tracking.models import download_registered, find_registered

    model = find_registered(name)
    digest = hashlib.sha256(model.source.encode()).hexdigest()[:12]
    folder = work_root() / FETCHED / f"{model.name}-{model.version}-{digest}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replace_folder(folder) as target:
            download_registered(model, target)
    found = sorted(folder.rglob(_FILES[0]))
    if not found:
        raise FileNotFoundError(
            f"{name}: expected a model that dcal register registered, with {_FILES[0]} in it; it "
            f"has none ({folder})"
        )
    return found[0]
