"""Which trials take the same memory (ours)."""

from __future__ import annotations

from typing import Any

from dcal.config import Config

_WITHOUT_EFFECT = {"weights", "drop_path", "side_scale"}
_OF_TRAINING = {
    "batch_size",
    "optimizer",
    "ema_decay",
    "precision",
    "compile",
    "gradient_checkpointing",
}


def describe_size(config: Config) -> dict[str, Any]:
    """Return the settings that memory depends on; equal ones need the same memory."""
    return {
        **config.model.model_dump(mode="json", exclude=_WITHOUT_EFFECT),
        **config.train.model_dump(mode="json", include=_OF_TRAINING),
        "triplet": config.loss.triplet,
    }
