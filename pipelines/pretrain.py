"""Make the embedded backbone: draw birds, train dcal_pico on their parts, write it with its log."""

from __future__ import annotations

import hashlib
import logging
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from dcal.models.backbone import PICO_NAME, get_grid_size
from dcal.models.pico import PICO_DEPTH, PICO_NUM_HEADS, PICO_PATCH_SIZE, PICO_WIDTH
from dcal.models.weights import EMBEDDED_WEIGHTS, save_weights
from dcal.paths import compute_file_digest, write_json
from dcal.training.pretrain import (
    PIXEL_MEAN,
    PIXEL_STD,
    PretrainOptions,
    PretrainResult,
    build_batches,
    pretrain,
)

SMOKE = PretrainOptions(
    num_combinations=16,
    num_held_out_combinations=8,
    held_out_images=8,
    steps=3,
    batch_size=4,
    warmup_steps=1,
    log_every=1,
    score_every=3,
    workers=0,
)
app = typer.Typer(add_completion=False)
VERSIONS_OF = ("torch", "timm", "numpy", "pillow")


@app.command()
def main(
    folder: Annotated[Path, typer.Option(help="Where to write the two files.")] = (
        EMBEDDED_WEIGHTS.parent
    ),
    smoke: Annotated[bool, typer.Option(help="A few steps, to try the command.")] = False,
) -> None:
    """Write dcal_pico.safetensors and dcal_pico.json."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = SMOKE if smoke else PretrainOptions()
    console = Console()
    result = pretrain(options, report=lambda entry: console.print(describe(entry)))
    path = folder / EMBEDDED_WEIGHTS.name
    save_weights(path, result.backbone, grid_size=get_grid_size(result.backbone))
    write_json(path.with_suffix(".json"), build_log(options, result, path))


def describe(entry: dict[str, float]) -> str:
    """Write one entry of the history as a line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in entry.items())


def build_log(options: PretrainOptions, result: PretrainResult, path: Path) -> dict[str, object]:
    """Collect what the weights were made from and how it went."""
    return {
        "name": PICO_NAME,
        "command": "python -m pipelines.pretrain",
        "options": options.model_dump(mode="json"),
        "architecture": {
            "patch_size": PICO_PATCH_SIZE,
            "width": PICO_WIDTH,
            "depth": PICO_DEPTH,
            "num_heads": PICO_NUM_HEADS,
            "parameters": sum(p.numel() for p in result.backbone.parameters()),
        },
        "preprocessing": {"mean": [PIXEL_MEAN] * 3, "std": [PIXEL_STD] * 3},
        "drawing_sha256": compute_drawing_digest(options),
        "weights_sha256": compute_file_digest(path),
        "history": [round_entry(entry) for entry in result.history],
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in VERSIONS_OF}
        | {"python": platform.python_version()},
    }


def compute_drawing_digest(options: PretrainOptions) -> str:
    """Return the sha256 of the first batch of held-out pictures and masks."""
    batch = build_batches(options).held_out[0]
    digest = hashlib.sha256(batch.images.contiguous().numpy().tobytes())
    digest.update(batch.masks.numpy().tobytes())
    return digest.hexdigest()


def round_entry(entry: dict[str, float]) -> dict[str, float]:
    """Keep six digits, which is more than repeats across machines."""
    return {
        name: value if isinstance(value, int) else float(f"{value:.6g}")
        for name, value in entry.items()
    }


if __name__ == "__main__":
    app()
