"""From an RGB picture to a normalised tensor of the model's size (ours; sizes: paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from dcal.config import TransformsConfig

Transform = Callable[[Image.Image], Tensor]
ImageSize = tuple[int, int]


def build_train_transform(
    transforms: TransformsConfig,
    model_image_size: ImageSize,
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> Transform:
    """Resize, random crop, flip, colour jitter, normalise, erase; each one only where it is on.

    Sizes are (height, width). Draws from torch's global generator only. Padding is black before
    normalising, and erased areas are 0 after it, which is the mean colour.

    Raises:
        ValueError: `transforms.resize` is smaller than the model's size and a crop is on.
    """
    steps: list[torch.nn.Module] = []
    if transforms.train_crop == "random":
        _require_room(transforms.resize, model_image_size, key="transforms.train_crop")
        steps += [_resize(transforms.resize, transforms), v2.RandomCrop(model_image_size)]
    elif transforms.train_crop == "pad":
        crop = v2.RandomCrop(model_image_size, padding=transforms.pad)
        steps += [_resize(model_image_size, transforms), crop]
    else:
        steps.append(_resize(model_image_size, transforms))
    if transforms.flip_ratio:
        steps.append(v2.RandomHorizontalFlip(transforms.flip_ratio))
    if transforms.color_jitter:
        amount = transforms.color_jitter
        steps.append(v2.ColorJitter(brightness=amount, contrast=amount, saturation=amount))
    steps += _to_normalised(mean, std)
    if transforms.erase_ratio:
        steps.append(v2.RandomErasing(transforms.erase_ratio))
    return v2.Compose(steps)


def build_test_transform(
    transforms: TransformsConfig,
    model_image_size: ImageSize,
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> Transform:
    """Resize and centre crop (or resize straight to the model's size), and normalise.

    Raises:
        ValueError: `transforms.resize` is smaller than the model's size and a crop is on.
    """
    steps: list[torch.nn.Module] = []
    if transforms.test_crop == "center":
        _require_room(transforms.resize, model_image_size, key="transforms.test_crop")
        steps += [_resize(transforms.resize, transforms), v2.CenterCrop(model_image_size)]
    else:
        steps.append(_resize(model_image_size, transforms))
    return v2.Compose([*steps, *_to_normalised(mean, std)])


def _resize(size: ImageSize, transforms: TransformsConfig) -> v2.Resize:
    return v2.Resize(size, interpolation=InterpolationMode(transforms.interpolation))


def _to_normalised(mean: Sequence[float], std: Sequence[float]) -> list[torch.nn.Module]:
    to_float = v2.ToDtype(torch.float32, scale=True)
    return [v2.PILToTensor(), to_float, v2.Normalize(list(mean), list(std))]


def _require_room(resize: ImageSize, crop: ImageSize, *, key: str) -> None:
    if resize[0] < crop[0] or resize[1] < crop[1]:
        raise ValueError(
            f"transforms.resize: expected at least model.image_size {list(crop)} (height, width), "
            f"which is cropped out of it; got {list(resize)}. Raise it, or set {key} to none"
        )
