"""From a config to a model with its weights, and from a model file back to a model (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dcal.models.backbone import PICO_NAME, create_backbone
from dcal.models.dcal import DCAL
from dcal.models.weights import (
    EMBEDDED_WEIGHTS,
    load_backbone_weights,
    load_glca_weights,
    read_model_card,
    read_tensors,
)

if TYPE_CHECKING:
    from dcal.config import ModelConfig


def build_model(config: ModelConfig, num_classes: int) -> DCAL:
    """Build DCAL with the weights that `config.weights` names.

    `none` needs neither network nor files; `embedded` comes with this package (`dcal_pico`);
    `hub` is fetched by timm; anything else is the path of a weights file to start from. GLCA
    blocks begin as copies of the SA blocks they run beside, unless the file has its own.

    Raises:
        ValueError, FileNotFoundError, RuntimeError: One sentence on what does not fit.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2; got {num_classes}")
    if config.weights == "embedded" and config.backbone != PICO_NAME:
        raise ValueError(
            f"model.weights: embedded weights exist for {PICO_NAME} only, not for "
            f"{config.backbone}; use hub, none, or the path of a .safetensors file"
        )
    if config.weights == "hub" and config.backbone == PICO_NAME:
        raise ValueError(f"model.weights: {PICO_NAME} is not on the hub; use embedded")
    backbone = create_backbone(
        config.backbone,
        image_size=config.image_size,
        stride=config.stride,
        drop_path=config.drop_path,
        pretrained=config.weights == "hub",
    )
    path = _weights_path(config.weights)
    if path is not None:
        load_backbone_weights(backbone, path)
    model = DCAL(backbone, config, num_classes=num_classes)
    if path is not None:
        load_glca_weights(model, path)
    return model


def load_model(path: str | Path) -> DCAL:
    """Load a trained model in evaluation mode; its card is in `model.card`.

    Args:
        path: A file that the train stage wrote, such as `runs/train/model.safetensors`.

    Raises:
        FileNotFoundError, ValueError: No such model, or a file that does not match its card.
    """
    from dcal.config import ModelConfig

    path = Path(path)
    card = read_model_card(path)
    config = ModelConfig.model_validate({**card["config"]["model"], "weights": "none"})
    model = build_model(config, num_classes=len(card["class_names"]))
    tensors, _ = read_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: does not match its card ({error})") from None
    model.card = card
    return model.eval()


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters, trained or not."""
    return sum(parameter.numel() for parameter in model.parameters())


def _weights_path(weights: str) -> Path | None:
    if weights in ("none", "hub"):
        return None
    return EMBEDDED_WEIGHTS if weights == "embedded" else Path(weights)
