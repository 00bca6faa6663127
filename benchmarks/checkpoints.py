"""What a checkpoint costs: milliseconds and megabytes, and the share of training it can take.

    python -m benchmarks.checkpoints [--output results/benchmarks/checkpoints.json]

Each model trains two steps on noise with AdamW, is scored once (so that the weights of the best
epoch are in the file too), and writes its checkpoint as a run does: to a temporary name, flushed
to the disk, read back for its digest, renamed. Median of the repetitions. `wait` is the time
between two checkpoints that the rule of `train.checkpoint_minutes=1` then keeps.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from dcal.config import Config, load_config
from dcal.data.samplers import EpochBatchSampler
from dcal.models import build_model
from dcal.paths import write_json
from dcal.tracking.environment import describe_environment
from dcal.training.callbacks import BestWeights
from dcal.training.checkpoints import CheckpointFolder
from dcal.training.finite import FiniteLoss
from dcal.training.module import DCALModule
from dcal.training.resume import MAX_TIME_SHARE, Checkpointer, PlainCheckpointIO

NUM_CLASSES = 200
BATCH_SIZE = 2
MODELS = {
    "dcal_pico 64": ("dcal_pico", (64, 64)),
    "DeiT-Tiny 224": ("deit_tiny_patch16_224", (224, 224)),
    "DeiT-Small 224": ("deit_small_patch16_224", (224, 224)),
    "DeiT-Base 224": ("deit_base_patch16_224", (224, 224)),
}


class Cost(NamedTuple):
    """Of one checkpoint."""

    milliseconds: float
    megabytes: float
    wait_seconds: float


class Noise(Dataset[dict[str, Any]]):
    """Pictures of noise, enough for two steps."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.image_size = image_size

    def __len__(self) -> int:
        return 2 * BATCH_SIZE

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return {"image": torch.randn(3, *self.image_size), "label": key[1] % 2, "row": key[1]}


def main() -> None:
    """Measure every model, print a table, and write JSON."""
    arguments = _parse_arguments()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    table = Table("model", "ms", "MB", "written every (s, at least)")
    costs = {}
    for name, (backbone, image_size) in MODELS.items():
        cost = measure(backbone, image_size, repetitions=arguments.repetitions)
        costs[name] = cost._asdict()
        wait = f"{cost.wait_seconds:.0f}"
        table.add_row(name, f"{cost.milliseconds:.0f}", f"{cost.megabytes:.1f}", wait)
    Console().print(table)
    if arguments.output:
        content = {
            "command": "python -m benchmarks.checkpoints",
            "environment": describe_environment(device="CPU").model_dump(),
            "checkpoints": costs,
        }
        write_json(arguments.output, content)


def measure(backbone: str, image_size: tuple[int, int], *, repetitions: int) -> Cost:
    """Train and save; return the median cost."""
    config = load_config(
        "params.yaml",
        [
            f"model.backbone={backbone}",
            "model.weights=none",
            f"model.image_size=[{image_size[0]}, {image_size[1]}]",
            f"train.epochs={repetitions}",
            "train.warmup_epochs=0",
            f"train.batch_size={BATCH_SIZE}",
        ],
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        seconds = _train(config, CheckpointFolder(Path(folder)))
        num_bytes = max(path.stat().st_size for path in Path(folder).glob("step-*.ckpt"))
    middle = statistics.median(seconds)
    return Cost(
        round(1000 * middle, 1), round(num_bytes / 1e6, 1), max(60.0, middle / MAX_TIME_SHARE)
    )


class _CostOfEpochs(lightning.Callback):
    """Note what each epoch's checkpoint took; behind the one that writes it."""

    def __init__(self, checkpointer: Checkpointer) -> None:
        self.checkpointer = checkpointer
        self.seconds: list[float] = []

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self.seconds.append(self.checkpointer.cost_seconds)


def _train(config: Config, folder: CheckpointFolder) -> list[float]:
    dataset = Noise(config.model.image_size)
    sampler = EpochBatchSampler(len(dataset), batch_size=BATCH_SIZE, seed=0, shuffle=True)
    loader = DataLoader(dataset, batch_sampler=sampler)
    module = DCALModule(build_model(config.model, NUM_CLASSES), config)
    checkpointer = Checkpointer(
        folder,
        sampler,
        minutes=0,
        should_stop=lambda: None,
        finite_loss=FiniteLoss(check_every=1, describe_newest=folder.describe_newest),
    )
    costs = _CostOfEpochs(checkpointer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=config.train.epochs,
            callbacks=[BestWeights(), checkpointer, costs],
            plugins=[PlainCheckpointIO()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        trainer.fit(module, loader, DataLoader(dataset, batch_sampler=sampler))
    return costs.seconds


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
