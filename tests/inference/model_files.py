"""A trained model's file with its card, small and of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dcal.models import build_model
from dcal.models.weights import save_model
from tests.data.factory import make_config


def write_model(path: Path, *, seed: int = 0, std: float = 0.25, **changes: Any) -> Path:
    """Write model.safetensors and model.json; `changes` are of the sections, model={...}."""
    config = make_config(**changes)
    torch.manual_seed(seed)
    model = build_model(config.model, num_classes=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    card = {
        "config": config.model_dump(mode="json"),
        "class_names": ["one", "two", "three"],
        "preprocessing": {"mean": [0.5] * 3, "std": [std] * 3},
    }
    save_model(path, model, card)
    return path
