"""Backbones by name: timm ViT, DeiT and hybrid models, and `dcal_pico` (DCAL, backbones).

The SA branch of DCAL *is* this pre-trained encoder; nothing is stacked on top of it. The only
place that makes a timm model.
"""

from __future__ import annotations

import difflib
import logging
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, cast

import huggingface_hub.constants
import timm
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from dcal.models.pico import create_pico

logger = logging.getLogger(__name__)

PICO_NAME = "dcal_pico"
PICO_MEAN_STD = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def create_backbone(
    name: str,
    *,
    image_size: tuple[int, int],
    stride: int | None = None,
    drop_path: float = 0.0,
    pretrained: bool = False,
) -> VisionTransformer:
    """Build a backbone for images of (height, width), without its classifier.

    Args:
        name: `dcal_pico`, or the name of a timm vision transformer, with or without its tag.
        image_size: (height, width) in pixels; each a multiple of the patch size unless patches
            overlap.
        stride: Patch stride; None = the patch size. A smaller one gives overlapping patches.
        drop_path: Stochastic depth rate of the last block, growing linearly from 0.
        pretrained: Let timm load the weights of the tag from the hub; position embeddings are
            resized to the grid.

    Raises:
        ValueError: Unknown name, image size that does not fit, or an architecture whose blocks
            are not plain pre-norm ViT blocks with a class token.
        RuntimeError: Weights were asked for and the hub cannot be reached.
    """
    if name == PICO_NAME:
        backbone = create_pico(image_size, drop_path=drop_path)
    else:
        # With a stride, at the weights' own size first: positions are resampled once, not twice.
        size = image_size if stride is None else None
        backbone = _create_timm(name, size, drop_path=drop_path, pretrained=pretrained)
    _check_architecture(backbone, name)
    patch_size = get_patch_size(backbone)
    if stride is None:
        _check_multiple(image_size, patch_size, name)
    elif stride == patch_size:
        _check_multiple(image_size, patch_size, name)
        backbone.set_input_size(img_size=image_size)
    else:
        _set_stride(backbone, image_size, stride=stride, name=name)
    return backbone


def get_patch_size(backbone: VisionTransformer) -> int:
    """Return the pixels a patch spans; for a hybrid, the reduction of its whole stem."""
    embed = backbone.patch_embed
    if hasattr(embed, "feat_ratio"):
        ratio = embed.feat_ratio()
        return int(ratio if isinstance(ratio, int) else ratio[0])
    return int(embed.patch_size[0])


def get_grid_size(backbone: VisionTransformer) -> tuple[int, int]:
    """Return the (rows, columns) of patches."""
    rows, columns = backbone.patch_embed.grid_size
    return int(rows), int(columns)


def get_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the pixel mean and standard deviation that the pre-trained weights expect."""
    if name == PICO_NAME:
        return PICO_MEAN_STD
    _require_known(name)
    config: Any = timm.get_pretrained_cfg(name)
    return tuple(config.mean), tuple(config.std)


def embed_tokens(backbone: VisionTransformer, images: Tensor) -> Tensor:
    """Map images (B, 3, H, W) to z_0: prefix tokens (class token first), then the patches."""
    tokens = backbone._pos_embed(backbone.patch_embed(images))
    embedded: Tensor = backbone.norm_pre(backbone.patch_drop(tokens))
    return embedded


def _create_timm(
    name: str, image_size: tuple[int, int] | None, *, drop_path: float, pretrained: bool
) -> VisionTransformer:
    _require_known(name)
    options: dict[str, Any] = {"num_classes": 0, "drop_path_rate": drop_path}
    if image_size is not None:
        options["img_size"] = image_size
    if pretrained:
        options["pretrained_cfg_overlay"] = {"file": str(_fetch_hub_weights(name))}
    try:
        backbone = timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        raise ValueError(_refusal(name, f"it does not take an image size ({error})")) from None
    return cast(VisionTransformer, backbone)  # create_backbone checks that it is one


def _require_known(name: str) -> None:
    """Refuse an unknown architecture or tag, naming the nearest that exist."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        vits = [PICO_NAME, *timm.list_models(["deit*", "vit_*"])]
        near = difflib.get_close_matches(architecture, vits, n=3, cutoff=0.4)
        known = ", ".join(near or [PICO_NAME, "deit_tiny_patch16_224", "vit_base_patch16_224"])
        raise ValueError(f"model.backbone: no model is called {name}; some that are: {known}")
    tags = [model.partition(".")[2] for model in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ValueError(
            f"model.backbone: {architecture} has no tag {tag}; it has {', '.join(tags) or 'none'}"
        )


def _fetch_hub_weights(name: str) -> Path:
    """Return the safetensors file of a tag, from the local cache or the hub; never a pickle."""
    config: Any = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise ValueError(
            f"model.weights=hub: {name} has no weights on the hub; name a tag, such as "
            "deit_tiny_patch16_224.fb_in1k"
        )
    place: dict[str, Any] = {"repo_id": config.hf_hub_id, "filename": "model.safetensors"}
    try:
        return Path(hf_hub_download(**place, local_files_only=True))
    except LocalEntryNotFoundError:
        logger.info("fetching the weights of %s from the hub", name)
    try:
        _check_hub_has_an_address()
        return Path(hf_hub_download(**place))
    except (OSError, HfHubHTTPError) as error:
        raise RuntimeError(
            f"model.weights=hub: the weights of {name} could not be fetched "
            f"({type(error).__name__}); use weights=embedded (dcal_pico), weights=none, or the "
            "path of a .safetensors file that you have"
        ) from None


def _check_hub_has_an_address() -> None:
    """Raise OSError at once where names cannot be looked up, instead of a minute of retries."""
    if not urllib.request.getproxies():
        socket.getaddrinfo(urllib.parse.urlsplit(huggingface_hub.constants.ENDPOINT).hostname, 443)


def _check_architecture(backbone: nn.Module, name: str) -> None:
    if not isinstance(backbone, VisionTransformer):
        raise ValueError(_refusal(name, f"it is a {type(backbone).__name__}"))
    if backbone.cls_token is None:
        raise ValueError(_refusal(name, "it has no class token"))
    if isinstance(backbone.norm, nn.Identity):
        raise ValueError(_refusal(name, "it has no final norm on its tokens"))
    for block in backbone.blocks:
        # A subclass may run its steps in another order, so the exact type counts.
        if type(block) is not Block or type(block.attn) is not Attention:
            raise ValueError(_refusal(name, f"its blocks are {type(block).__name__}"))
        if block.attn.gate is not None:
            raise ValueError(_refusal(name, "its attention is gated"))


def _refusal(name: str, reason: str) -> str:
    return (
        f"model.backbone: {name} cannot carry DCAL: expected a vision transformer of plain "
        f"pre-norm blocks with a class token, but {reason}; use a ViT or DeiT"
    )


def _check_multiple(image_size: tuple[int, int], patch_size: int, name: str) -> None:
    if min(image_size) < patch_size or any(side % patch_size for side in image_size):
        height, width = image_size
        raise ValueError(
            f"model.image_size: expected multiples of the patch size {patch_size} of {name}; "
            f"got {height} x {width} (height x width)"
        )


def _set_stride(
    backbone: VisionTransformer, image_size: tuple[int, int], *, stride: int, name: str
) -> None:
    """Let patches overlap: the same patch projection, moved by fewer pixels (TransReID)."""
    embed = backbone.patch_embed
    projection = getattr(embed, "proj", None)
    patch_size = get_patch_size(backbone)
    if not isinstance(projection, nn.Conv2d) or projection.kernel_size[0] != patch_size:
        raise ValueError(
            f"model.stride: {name} has no patch projection that could overlap; set it to null"
        )
    if not 0 < stride < patch_size:
        raise ValueError(
            f"model.stride: expected 1 to {patch_size}, the patch size of {name}; got {stride}"
        )
    if min(image_size) < patch_size:
        raise ValueError(
            f"model.image_size: expected at least the patch size {patch_size}; got {image_size}"
        )
    old_grid = get_grid_size(backbone)
    projection.stride = (stride, stride)
    rows, columns = ((side - patch_size) // stride + 1 for side in image_size)
    embed.img_size = image_size
    embed.grid_size, embed.num_patches = (rows, columns), rows * columns
    resize_position_embedding(backbone, old_grid=old_grid)


def resize_position_embedding(backbone: VisionTransformer, *, old_grid: tuple[int, int]) -> None:
    """Resample the backbone's position embedding, now on `old_grid`, to its present grid."""
    if backbone.pos_embed is None:
        return
    resized = resample_positions(
        backbone.pos_embed.data,
        old_grid=old_grid,
        new_grid=get_grid_size(backbone),
        num_prefix_tokens=0 if backbone.no_embed_class else backbone.num_prefix_tokens,
    )
    backbone.pos_embed = nn.Parameter(resized)


def resample_positions(
    positions: Tensor,
    *,
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix_tokens: int,
) -> Tensor:
    """Resample position embeddings (1, P + rows * columns, D) bicubically to another grid."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    resized: Tensor = resample_abs_pos_embed(
        positions,
        new_size=list(new_grid),
        old_size=list(old_grid),  # without it timm assumes a square
        num_prefix_tokens=num_prefix_tokens,
    )
    return resized
