"""Small data sets and configurations for the tests of dcal/data."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcal.config import Config, DatasetConfig, parse_config


def make_dataset(**changes: Any) -> DatasetConfig:
    """Return a folder data set's section with some keys changed."""
    keys: dict[str, Any] = {
        "name": "mine",
        "kind": "fgvc",
        "source_type": "folder",
        "source": None,
        "val_ratio": 0.25,
        "split_seed": 0,
        "remote": None,
        "verify": "pixels",
        "allow_partial": False,
        "cache": None,
        "options": {},
    }
    return DatasetConfig(**{**keys, **changes})


def make_config(**changes: Any) -> Config:
    """Return a whole configuration; `changes` maps sections to keys, such as train={...}."""
    branches = {"sa": 0.0, "glca": 0.0, "pwca": 0.0}
    tree: dict[str, Any] = {
        "seed": 0,
        "dataset": make_dataset().model_dump(),
        "transforms": {
            "resize": [20, 28],
            "train_crop": "random",
            "pad": 0,
            "test_crop": "center",
            "flip_ratio": 0.5,
            "color_jitter": 0.3,
            "erase_ratio": 0.5,
            "interpolation": "bicubic",
            "decode": "exact",
        },
        "model": {
            "backbone": "dcal_pico",
            "weights": "none",
            "image_size": [16, 24],
            "stride": None,
            "drop_path": 0.0,
            "top_r": 0.3,
            "patch_selection": "rollout",
            "readout": "class_local",
            "glca_blocks": 1,
            "pwca_blocks": 2,
            "distractor": "any",
            "stream": "clean",
            "neck": "none",
            "side_information": "none",
            "side_scale": 3.0,
        },
        "loss": {
            "weighting": "uncertainty",
            "initial_log_variances": branches,
            "log_variance_lr": 0.01,
            "fixed_weights": branches,
            "label_smoothing": 0.0,
            "triplet": "none",
            "triplet_margin": 0.3,
        },
        "train": {
            "epochs": 1,
            "processes": 1,
            "batch_size": 4,
            "images_per_identity": None,
            "accumulate_steps": 1,
            "optimizer": "adamw",
            "lr": 0.001,
            "lr_scaling": "none",
            "momentum": 0.9,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup_epochs": 0.0,
            "warmup_lr_ratio": 0.0,
            "min_lr_ratio": 0.0,
            "clip_norm": None,
            "ema_decay": None,
            "precision": "fp32",
            "compile": False,
            "gradient_checkpointing": False,
            "devices": "cpu",
            "workers": 0,
            "selection": "last",
            "log_every": 1,
            "checkpoint_minutes": 1.0,
        },
        "evaluate": {
            "batch_size": 4,
            "weights": None,
            "flip": False,
            "average_precision": "rectangle",
            "rerank": False,
            "memory_mb": 64,
        },
        "rollout": {"num_images": 1, "num_blocks": None, "score_images": None},
    }
    for section, keys in changes.items():
        tree[section] = {**tree[section], **keys} if isinstance(keys, dict) else keys
    return parse_config(tree)


def write_picture(path: Path, *, seed: int, size: tuple[int, int] = (12, 18)) -> None:
    """Write a picture of noise; `size` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_folder(root: Path, counts: dict[str, dict[str, int]]) -> Path:
    """Write train/val/test folders of classes: counts[split][class] pictures each."""
    seed = 0
    for split, classes in counts.items():
        for name, count in classes.items():
            for number in range(count):
                write_picture(root / split / name / f"{number:03d}.png", seed=seed)
                seed += 1
    return root


def write_tar(path: Path, folder: Path) -> Path:
    """Pack a folder under its own name."""
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    return path
