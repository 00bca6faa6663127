"""Small models for the tests of the method: every branch, in a fraction of a second."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from dcal.config import ModelConfig
from dcal.models.dcal import DCAL

DEFAULTS = {
    "backbone": "test",
    "weights": "none",
    "image_size": (16, 24),
    "stride": None,
    "drop_path": 0.0,
    "top_r": 0.4,
    "patch_selection": "rollout",
    "readout": "class_local",
    "glca_blocks": 1,
    "pwca_blocks": 4,
    "distractor": "any",
    "stream": "clean",
    "neck": "none",
    "side_information": "none",
    "side_scale": 3.0,
}


def make_config(**changes) -> ModelConfig:
    return ModelConfig(**{**DEFAULTS, **changes})


def make_backbone(
    image_size=(16, 24), *, depth=4, registers=0, drop_path=0.0, **options
) -> VisionTransformer:
    torch.manual_seed(5)
    backbone = VisionTransformer(
        img_size=image_size,
        patch_size=4,
        embed_dim=12,
        depth=depth,
        num_heads=3,
        reg_tokens=registers,
        drop_path_rate=drop_path,
        num_classes=0,
        **options,
    )
    # Initial weights are so small that attention is flat; stir them so that every term matters.
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return backbone


def make_model(*, registers=0, depth=4, options=None, **changes) -> DCAL:
    """Build a float64 model in training mode whose blocks all do visibly different things."""
    config = make_config(**changes)
    backbone = make_backbone(
        config.image_size,
        depth=depth,
        registers=registers,
        drop_path=config.drop_path,
        **(options or {}),
    )
    model = DCAL(backbone, config, num_classes=5)
    with torch.no_grad():
        for module in (model.glca_blocks, model.glca_norm, model.glca_head, model.sa_head):
            for parameter in module.parameters() if isinstance(module, nn.Module) else ():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.double().train()


def make_images(batch_size=3, image_size=(16, 24), seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, 3, *image_size, generator=generator, dtype=torch.float64)
