"""A project folder as the train stage leaves it, with an untrained model: seconds, not minutes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
import yaml

from dcal.config import Config
from dcal.data.datamodule import open_pictures
from dcal.models import build_model, count_parameters
from dcal.models.weights import save_model
from dcal.paths import write_json
from dcal.tracking import describe_environment, start_run, write_run_record
from dcal.tracking.record import DatasetRecord, RunRecord
from pipelines import fetch, prepare
from tests.visual.fixtures import PARAMS, make_config, make_history

BIRDS = {
    "name": "birds",
    "source_type": "birds",
    "options": {
        "image_size": [64, 64],
        "num_classes": 4,
        "train_images": 2,
        "val_images": 1,
        "test_images": 5,
        "seed": 0,
    },
}

VEHICLES = {
    "name": "vehicles",
    "kind": "reid",
    "source_type": "vehicles",
    "val_ratio": 0.0,
    "options": {
        "image_size": [64, 64],
        "train_identities": 4,
        "val_identities": 2,
        "test_identities": 3,
        "cameras": 2,
        "images_per_camera": 2,
        "seed": 0,
    },
}


def make_project(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_tracked: bool = False,
    **changes: dict[str, Any],
) -> Config:
    """Draw birds, prepare them, and save a model of random weights with card and record.

    Setting up MLflow's database takes seconds, so it is left out where a test does not look at it.
    """
    dataset = {**PARAMS["dataset"], **BIRDS, **changes.pop("dataset", {})}
    rollout = {"num_images": 4, **changes.pop("rollout", {})}
    config = make_config(dataset=dataset, rollout=rollout, **changes)
    monkeypatch.chdir(folder)
    write_params(config)
    fetch.main()
    prepare.main()
    make_trained(config, is_tracked=is_tracked)
    return config


def write_params(config: Config) -> None:
    """Write params.yaml into the current directory."""
    text = yaml.safe_dump(config.model_dump(mode="json"))
    Path("params.yaml").write_text(text, encoding="utf-8")


def make_trained(
    config: Config, *, path: str = "runs/train/model.safetensors", is_tracked: bool = False
) -> None:
    """Write a model and everything else that the train stage leaves."""
    pictures = open_pictures(config.dataset)
    torch.manual_seed(0)
    sides = pictures.list_sides()
    model = build_model(
        config.model,
        num_classes=pictures.report.num_classes,
        num_cameras=len(sides.cameras),
        num_views=len(sides.views),
    )
    with torch.no_grad():
        for head in (model.sa_head, model.glca_head):
            for parameter in head.parameters() if head is not None else ():
                parameter.normal_()
    save_model(
        path,
        model,
        {
            "config": config.model_dump(mode="json"),
            "class_names": pictures.report.class_names,
            "sides": {key: list(known) for key, known in sides._asdict().items()},
            "preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3},
            "weights": "raw",
            "selected_epoch": 1,
            "dataset": {"name": config.dataset.name, "digest": pictures.report.digest},
        },
    )
    environment = describe_environment(device="a test's CPU")
    digest = pictures.report.digest
    run_key = run_id = None
    if is_tracked:
        tracker = start_run(
            config,
            environment=environment,
            fingerprint="f" * 12,
            data_digest=digest,
            run_key=uuid4().hex,
            started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        )
        tracker.end()
        run_key, run_id = tracker.run_key, tracker.run_id
    record = RunRecord(
        **environment.model_dump(),
        run_key=run_key,
        run_id=run_id,
        tracking_uri="sqlite:///mlflow.db",
        fingerprint="f" * 12,
        seed=config.seed,
        dataset=DatasetRecord(name=config.dataset.name, digest=digest),
        model={"backbone": config.model.backbone, "parameters": count_parameters(model)},
        warnings=[],
        started="2026-01-02T03:04:05+00:00",
        seconds=3.0,
    )
    write_run_record("results/train/run.json", record)
    write_json("results/train/metrics.json", {"val/sa/top1_accuracy": 0.25, "steps": 4})
    make_history().to_csv("results/train/history.csv", index=False)
