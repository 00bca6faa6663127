"""Small runs for the training tests: noise that carries its label, a model that learns it."""

from __future__ import annotations

import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from dcal.config import BranchValues, Config, LossConfig, TrainConfig, parse_config
from dcal.data.datamodule import Loaders, collate
from dcal.data.samplers import EpochBatchSampler, IdentityBatchSampler
from tests.models.factory import DEFAULTS

TRAIN = {
    "epochs": 2,
    "processes": 1,
    "batch_size": 6,
    "images_per_identity": None,
    "accumulate_steps": 1,
    "optimizer": "adamw",
    "lr": 1e-3,
    "lr_scaling": "none",
    "momentum": 0.9,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "warmup_lr_ratio": 0.1,
    "min_lr_ratio": 0.01,
    "clip_norm": 1.0,
    "ema_decay": None,
    "precision": "fp32",
    "compile": False,
    "gradient_checkpointing": False,
    "devices": "cpu",
    "workers": 0,
    "selection": "val",
    "log_every": 2,
    "checkpoint_minutes": 0.0,
}
LOSS = {
    "weighting": "uncertainty",
    "initial_log_variances": {"sa": 0.0, "glca": 0.0, "pwca": 0.0},
    "log_variance_lr": 0.01,
    "fixed_weights": {"sa": 1.0, "glca": 1.0, "pwca": 1.0},
    "label_smoothing": 0.0,
    "triplet": "none",
    "triplet_margin": 0.3,
}


def make_train_config(**changes) -> TrainConfig:
    return TrainConfig(**{**TRAIN, **changes})


def make_loss_config(**changes) -> LossConfig:
    values = {key: BranchValues(**v) if isinstance(v, dict) else v for key, v in LOSS.items()}
    return LossConfig(**{**values, **changes})


def make_run_config(*, seed=0, kind="fgvc", model=None, loss=None, **train) -> Config:
    """Build a whole tree around a `dcal_pico` on 16 x 24 pictures."""
    pico = {"backbone": "dcal_pico", "image_size": [16, 24], "pwca_blocks": 6, "drop_path": 0.1}
    return parse_config(
        {
            "seed": seed,
            "dataset": {
                "name": "noise",
                "kind": kind,
                "source_type": "folder",
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
                "resize": [16, 24],
                "train_crop": "none",
                "pad": 0,
                "test_crop": "none",
                "flip_ratio": 0.5,
                "color_jitter": 0.0,
                "erase_ratio": 0.0,
                "interpolation": "bicubic",
                "decode": "exact",
            },
            "model": {**DEFAULTS, **pico, **(model or {})},
            "loss": {**LOSS, **(loss or {})},
            "train": {**TRAIN, **train},
            "evaluate": {
                "batch_size": 8,
                "weights": None,
                "flip": False,
                "average_precision": "rectangle",
                "rerank": False,
                "memory_mb": 64,
            },
            "rollout": {"num_images": 2, "num_blocks": None, "score_images": None},
        }
    )


class NoiseWithLabels(Dataset):
    """Pictures of noise whose mean colour is their class."""

    def __init__(
        self, num_images: int, *, has_distractors: bool = False, num_classes: int = 3
    ) -> None:
        self.num_images = num_images
        self.num_classes = num_classes
        self.has_distractors = has_distractors

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, key):
        epoch, index = key
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        label = index % self.num_classes
        image = torch.randn(3, 16, 24, generator=generator)
        image[label % 3] += 2.0
        item = {"image": image, "label": label, "row": index}
        if self.has_distractors:
            item["distractor_image"] = torch.randn(3, 16, 24, generator=generator)
        return item


def make_loaders(
    config: Config, *, num_train=20, num_val=9, rank=0, world_size=1, **options
) -> Loaders:
    share = {"seed": config.seed, "rank": rank, "world_size": world_size}

    def load(num_images, batch_size, shuffle):
        dataset = NoiseWithLabels(num_images, **options)
        if shuffle and config.train.images_per_identity is not None:
            labels = [index % dataset.num_classes for index in range(num_images)]
            size = config.train.images_per_identity
            sampler = IdentityBatchSampler(
                labels, batch_size=batch_size, images_per_identity=size, **share
            )
        else:
            sampler = EpochBatchSampler(num_images, batch_size=batch_size, shuffle=shuffle, **share)
        # A generator of its own, as the datamodule's: an iteration draws from it.
        return DataLoader(
            dataset, batch_sampler=sampler, generator=torch.Generator(), collate_fn=collate
        )

    is_reid = config.dataset.kind == "reid"
    return Loaders(
        train=load(num_train, config.train.batch_size, True),
        val=load(num_val, 4, False) if num_val else None,
        test=load(6, 4, False),
        table=make_table(num_val) if is_reid else pd.DataFrame(),
    )


def make_table(num_images) -> pd.DataFrame:
    """Return an index of `val` for `NoiseWithLabels`: two identities, each under two cameras."""
    rows = range(num_images)
    return pd.DataFrame(
        {
            "split": "val",
            "identity": [row % 2 for row in rows],
            "camera": [row // 2 % 2 for row in rows],
        }
    )
