"""A made-up run on drawn birds: realistic files for the page and the drawings, in seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from dcal.analysis.tables import build_class_table, build_confusion_table
from dcal.config import Config, parse_config
from dcal.data.index import IndexReport
from dcal.data.synthetic import PART_NAMES, choose_classes, describe_parts, draw_bird
from dcal.inference.scoring import score_predictions
from dcal.metrics.classification import compute_confusion
from dcal.tracking import RunRecord
from dcal.visual.attention_maps import Overlay, save_gallery
from dcal.visual.report import ReportInputs, TrainingResults

GRID = (8, 8)
PARAMS: dict[str, Any] = {
    "seed": 0,
    "dataset": {
        "name": "birds",
        "kind": "fgvc",
        "source_type": "birds",
        "source": None,
        "val_ratio": 0.1,
        "split_seed": 0,
        "remote": None,
        "verify": "pixels",
        "allow_partial": False,
        "cache": None,
        "options": {},
    },
    "transforms": {
        "resize": [64, 64],
        "train_crop": "none",
        "pad": 0,
        "test_crop": "none",
        "flip_ratio": 0.5,
        "color_jitter": 0.0,
        "erase_ratio": 0.0,
        "interpolation": "bicubic",
        "decode": "exact",
    },
    "model": {
        "backbone": "dcal_pico",
        "weights": "none",
        "image_size": [64, 64],
        "stride": None,
        "drop_path": 0.0,
        "top_r": 0.3,
        "patch_selection": "rollout",
        "readout": "class_local",
        "glca_blocks": 1,
        "pwca_blocks": 6,
        "distractor": "any",
        "stream": "clean",
        "neck": "none",
        "side_information": "none",
        "side_scale": 3.0,
    },
    "loss": {
        "weighting": "uncertainty",
        "initial_log_variances": {"sa": 0.0, "glca": 0.0, "pwca": 0.0},
        "log_variance_lr": 0.01,
        "fixed_weights": {"sa": 1.0, "glca": 1.0, "pwca": 1.0},
        "label_smoothing": 0.0,
        "triplet": "none",
        "triplet_margin": 0.3,
    },
    "train": {
        "epochs": 13,
        "processes": 1,
        "batch_size": 32,
        "images_per_identity": None,
        "accumulate_steps": 1,
        "optimizer": "adamw",
        "lr": 0.001,
        "lr_scaling": "none",
        "momentum": 0.9,
        "weight_decay": 0.05,
        "schedule": "cosine",
        "warmup_epochs": 1.0,
        "warmup_lr_ratio": 0.01,
        "min_lr_ratio": 0.01,
        "clip_norm": 1.0,
        "ema_decay": None,
        "precision": "auto",
        "compile": False,
        "gradient_checkpointing": False,
        "devices": "cpu",
        "workers": 0,
        "selection": "val",
        "log_every": 5,
        "checkpoint_minutes": 1.0,
    },
    "evaluate": {
        "batch_size": 16,
        "weights": None,
        "flip": False,
        "average_precision": "rectangle",
        "rerank": False,
        "memory_mb": 64,
    },
    "rollout": {"num_images": 8, "num_blocks": None, "score_images": None},
}


def make_config(**changes: dict[str, Any]) -> Config:
    """Return the config of the made-up run; keywords change keys of a section."""
    tree = {
        name: {**section, **changes.get(name, {})} if isinstance(section, dict) else section
        for name, section in PARAMS.items()
    }
    return parse_config(tree)


def make_history(*, branches: tuple[str, ...] = ("sa", "glca", "pwca")) -> pd.DataFrame:
    """Return a history that falls and rises as real ones do."""
    generator = np.random.default_rng(0)
    steps = np.arange(5, 391, 5)
    progress = steps / 390
    table = pd.DataFrame({"step": steps, "epoch": steps // 30})
    for delay, branch in enumerate(branches):
        curve = 3.2 * np.exp(-(3.5 - 0.6 * delay) * progress) + 0.12
        table[f"train/{branch}/loss"] = curve * generator.normal(1, 0.05, len(steps))
        table[f"train/{branch}/top1_accuracy"] = np.clip(1.04 - curve / 3.3, 0, 1)
        table[f"train/log_variance/{branch}"] = -0.9 * progress**2 + 0.05 * delay
    table["train/loss"] = table.filter(regex="train/.*/loss").sum(axis=1) / 2 - progress
    table["train/lr"] = 1e-3 * np.minimum(steps / 30, 0.5 * (1 + np.cos(np.pi * progress)))
    table["train/images_per_second"] = 210 + generator.normal(0, 8, len(steps))
    is_scored = steps % 30 == 0
    for delay, branch in enumerate(("sa", "glca", "both") if "glca" in branches else ("sa",)):
        score = 0.93 - 0.85 * np.exp(-4 * progress) + 0.01 * delay
        table[f"val/{branch}/top1_accuracy"] = np.where(is_scored, score, np.nan)
        table[f"val/{branch}/loss"] = np.where(is_scored, 3 * np.exp(-3 * progress), np.nan)
    return table


def make_predictions(
    labels: np.ndarray, *, num_classes: int, branches: tuple[str, ...] = ("sa", "glca", "both")
) -> pd.DataFrame:
    """Return predictions that are mostly right and mix up classes of one family of four."""
    generator = np.random.default_rng(1)
    logits = {
        branch: generator.normal(0, 1, (len(labels), num_classes)) for branch in ("sa", "glca")
    }
    for values in logits.values():
        values[np.arange(len(labels)), labels] += 2.6
        for position, label in enumerate(labels):
            family = np.arange(label // 4 * 4, min(label // 4 * 4 + 4, num_classes))
            values[position, family] += generator.normal(1.2, 0.9, len(family))
    found = {
        name: torch.from_numpy(values).softmax(dim=1).float() for name, values in logits.items()
    }
    found["both"] = (found["sa"] + found["glca"]) / 2
    table = pd.DataFrame({"label": labels, "split": "test"})
    for branch in branches:
        best = found[branch].max(dim=1)
        table[f"{branch}_prediction"] = best.indices.numpy()
        table[f"{branch}_probability"] = best.values.numpy()
        table[f"{branch}_probabilities"] = list(found[branch].numpy())
    return table


def make_inputs(
    folder: Path, *, num_classes: int = 24, per_class: int = 10, **changes: dict[str, Any]
) -> ReportInputs:
    """Draw pictures and make up everything that the stages would have left."""
    config = make_config(**changes)
    has_glca = config.model.glca_blocks > 0
    combinations = choose_classes(num_classes, seed=0)
    names = [
        "_".join(describe_parts(combination).values()).replace(" ", "_")
        for combination in combinations
    ]
    labels = np.repeat(np.arange(num_classes), per_class)
    branches = ("sa", "glca", "both") if has_glca else ("sa",)
    predictions = make_predictions(labels, num_classes=num_classes, branches=branches)
    masks: list[np.ndarray] = []
    paths = []
    (folder / "pictures").mkdir(parents=True)
    for position, label in enumerate(labels):
        bird = draw_bird(combinations[label], seed=0, index=position)
        paths.append(f"{position:04d}.png")
        masks.append(bird.mask > 0)
        Image.fromarray(bird.image).save(folder / "pictures" / paths[-1])
    predictions.insert(0, "path", paths)
    overlays, gallery = _make_gallery(folder, predictions, masks, names)
    save_gallery(folder / "rollout", overlays, gallery)
    main = "both" if has_glca else "sa"
    confusion = compute_confusion(
        torch.from_numpy(predictions[f"{main}_prediction"].to_numpy(copy=True)),
        torch.from_numpy(labels),
        num_classes=num_classes,
    )
    return ReportInputs(
        config=config,
        index_report=make_index_report(config, names),
        training=TrainingResults(
            run=make_record(),
            metrics={f"val/{branch}/top1_accuracy": 0.9 for branch in branches},
            history=make_history(branches=("sa", "glca", "pwca") if has_glca else ("sa",)),
        ),
        card={
            "weights": "raw",
            "selected_epoch": 11,
            "dataset": {"name": "birds", "digest": "5f" * 32},
        },
        num_parameters=1_403_955,
        metrics=score_predictions(predictions, split="test"),
        confusion=build_confusion_table(confusion.numpy(), names),
        classes=build_class_table(predictions, names, branches=branches),
        localization=make_localization(),
        predictions=predictions,
        gallery=gallery,
        gallery_folder=folder / "rollout",
        pictures_root=folder / "pictures",
    )


def make_index_report(config: Config, names: list[str]) -> IndexReport:
    """Return the report of an index of these classes."""
    return IndexReport(
        dataset=config.dataset.name,
        kind="fgvc",
        redistributable=config.dataset.redistributable,
        counts={"train": 40 * len(names), "val": 4 * len(names), "test": 10 * len(names)},
        num_left_out=0,
        class_names=names,
        part_names=list(PART_NAMES),
        discriminative_parts=list(PART_NAMES),
        digest="5f" * 32,
        warnings=["2 of 240 test pictures are also in train"],
    )


def make_record() -> RunRecord:
    """Return the record of the made-up run."""
    return RunRecord.model_validate(
        {
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "git_dirty": True,
            "dvc_exp_name": None,
            "versions": {"python": "3.11.2", "torch": "2.14.1", "timm": "1.0.31"},
            "device": "x86_64 CPU",
            "threads": 2,
            "run_id": None,
            "tracking_uri": "sqlite:///mlflow.db",
            "fingerprint": "a1b2c3d4e5f6",
            "seed": 0,
            "dataset": {"name": "birds", "digest": "5f" * 32},
            "model": {"backbone": "dcal_pico", "parameters": 1_403_955},
            "warnings": [],
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 191.4,
        }
    )


def make_localization() -> pd.DataFrame:
    """Return localisation scores at both depths."""
    rows = [
        ("sa", 6, "pointing_game", 0.61, 0.19, 240),
        ("sa", 6, "energy_share", 0.17, 0.08, 240),
        ("selection", 5, "pointing_game", 0.58, 0.19, 240),
        ("selection", 5, "energy_share", 0.16, 0.08, 240),
        ("selection", 5, "chosen_on_parts", 0.21, 0.08, 240),
        ("selection", 5, "parts_chosen", 0.74, 0.30, 240),
    ]
    columns = ["branch", "num_blocks", "score", "value", "chance", "num_pictures"]
    return pd.DataFrame(rows, columns=columns)


def _make_gallery(
    folder: Path, predictions: pd.DataFrame, masks: list[np.ndarray], names: list[str]
) -> tuple[list[Overlay], pd.DataFrame]:
    main = "both" if "both_prediction" in predictions else "sa"
    is_correct = predictions["label"] == predictions[f"{main}_prediction"]
    chosen = [*predictions.index[is_correct][::31][:5], *predictions.index[~is_correct][:3]]
    overlays, rows = [], []
    for number, position in enumerate(chosen):
        picture = predictions.loc[position]
        rollout = _make_rollout(masks[position], seed=number)
        order = np.argsort(-rollout.flatten(), kind="stable")[:19]
        image = np.asarray(Image.open(folder / "pictures" / picture["path"]))
        row = {
            "name": f"{number:02d}",
            "path": picture["path"],
            "class_name": names[picture["label"]],
            "predicted_name": names[picture[f"{main}_prediction"]],
            "probability": picture[f"{main}_probability"],
            "is_correct": bool(is_correct[position]),
            "rollout_label": "SA rollout, 6 blocks",
            "choice_label": "GLCA choice: 19 of 64 patches",
            "has_parts": True,
        }
        rows.append(row)
        overlays.append(
            Overlay(
                image=image,
                rollout=rollout,
                chosen=order,
                mask=masks[position],
                title=f"{row['class_name']}: {'right' if row['is_correct'] else 'wrong'}",
                rollout_label=str(row["rollout_label"]),
                choice_label=str(row["choice_label"]),
            )
        )
    return overlays, pd.DataFrame(rows)


def _make_rollout(mask: np.ndarray, *, seed: int) -> np.ndarray:
    blocks = mask.reshape(GRID[0], mask.shape[0] // GRID[0], GRID[1], -1).mean(axis=(1, 3))
    noise = np.random.default_rng(seed).random(GRID)
    rollout = 0.2 + blocks * 1.6 + 0.25 * noise
    return rollout / rollout.sum()


def change(inputs: ReportInputs, **values: Any) -> ReportInputs:
    """Return a copy with some fields changed."""
    return dataclasses.replace(inputs, **values)
