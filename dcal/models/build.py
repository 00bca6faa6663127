"""From a config to a model with its weights, and from a model file back to a model (ours)."""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)


def build_model(
    config: ModelConfig, num_classes: int, *, num_cameras: int = 0, num_views: int = 0
) -> DCAL:
    """Build DCAL with the weights that `config.weights` names.

    `none` needs neither network nor files; `embedded` comes with this package (`dcal_pico`);
    `hub` is fetched by timm; anything else is the path of a weights file to start from. GLCA
    blocks begin as copies of the SA blocks they run beside, unless the file has its own.
    `num_cameras` and `num_views` are those of the train split, for `model.side_information`.

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
    path = locate_weights(config.weights)
    report = None if path is None else load_backbone_weights(backbone, path)
    model = DCAL(
        backbone, config, num_classes=num_classes, num_cameras=num_cameras, num_views=num_views
    )
    if path is None or report is None:
        return model
    load_glca_weights(model, path, report)
    logger.info("%s: %s", path.name, report.describe())
    return model


def load_model(path: str | Path) -> DCAL:
    """Load a trained model in evaluation mode; its card is in `model.card`.

    Args:
        path: A file that the train stage wrote, such as `runs/train/model.safetensors`.

    Raises:
        FileNotFoundError, ValueError: No such model, or a file that does not match its card.
    """
    from pydantic import ValidationError

    from dcal.config import ModelConfig
    from dcal.config_errors import describe_errors

    path = Path(path)
    card = read_model_card(path)
    try:
        config = ModelConfig.model_validate({**card["config"]["model"], "weights": "none"})
        num_classes = len(card["class_names"])
        sides = {f"num_{name}": len(known) for name, known in card.get("sides", {}).items()}
        if "transforms" in card["config"]:
            # A model from before there was such a key was shown exact pictures.
            card["config"]["transforms"].setdefault("decode", "exact")
    except (AttributeError, KeyError, TypeError, ValidationError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        if isinstance(error, ValidationError):
            reason = describe_errors(error, ModelConfig, origin="its config").splitlines()[0]
        raise ValueError(
            f"{path.with_suffix('.json')}: not the card of a model of this version ({reason}); "
            "train it anew, or start from its weights with model.weights"
        ) from None
    model = build_model(config, num_classes=num_classes, **sides)
    tensors, _ = read_tensors(path)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    if expected != {name: value.shape for name, value in tensors.items()}:
        raise ValueError(f"{path}: its tensors are not those of the model its card describes")
    model.load_state_dict(tensors)
    model.card = card
    return model.eval()


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters, trained or not."""
    return sum(parameter.numel() for parameter in model.parameters())


def locate_weights(weights: str) -> Path | None:
    """Return the file that `model.weights` names; None for `none` and `hub`."""
    if weights in ("none", "hub"):
        return None
    return EMBEDDED_WEIGHTS if weights == "embedded" else Path(weights)
