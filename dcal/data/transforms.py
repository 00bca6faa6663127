"""From an RGB picture to a normalised tensor of the model's size (ours; sizes: paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from dcal.config import TransformsConfig
from dcal.data.images import load_image

ImageSize = tuple[int, int]


@dataclass(frozen=True)
class Transform:
    """How a picture becomes a model input: decoded by `load`, the rest by a call."""

    steps: Callable[..., Tensor]
    resize: ImageSize  # (height, width) after the first step
    interpolation: str  # of that step
    is_reduced: bool = False  # transforms.decode

    def __call__(self, image: Any) -> Tensor:
        """Return a decoded picture, or a mask of it, as a model input."""
        return self.steps(image)

    def load(self, path: str | Path | IO[bytes], *, cut_bottom: int = 0) -> Image.Image:
        """Decode a picture file as far as the first step can tell, without its last rows.

        `path` may be a stream of the file's bytes.

        Raises:
            FileNotFoundError, OSError: See `load_image`.
        """
        height, width = self.resize
        at_least = (2 * height, 2 * width) if self.is_reduced else None
        return load_image(path, at_least=at_least, cut_bottom=cut_bottom)


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
    resize = transforms.compute_train_resize(model_image_size)
    steps: list[torch.nn.Module] = [build_resize(resize, transforms.interpolation)]
    if transforms.train_crop == "random":
        _require_room(transforms.resize, model_image_size, key="transforms.train_crop")
        steps.append(v2.RandomCrop(model_image_size))
    elif transforms.train_crop == "pad":
        steps.append(v2.RandomCrop(model_image_size, padding=transforms.pad))
    if transforms.flip_ratio:
        steps.append(v2.RandomHorizontalFlip(transforms.flip_ratio))
    if transforms.color_jitter:
        amount = transforms.color_jitter
        steps.append(v2.ColorJitter(brightness=amount, contrast=amount, saturation=amount))
    steps += _to_normalised(mean, std)
    if transforms.erase_ratio:
        steps.append(v2.RandomErasing(transforms.erase_ratio))
    return _to_transform(steps, resize, transforms)


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
    resize = transforms.compute_test_resize(model_image_size)
    steps: list[torch.nn.Module] = [build_resize(resize, transforms.interpolation)]
    if transforms.test_crop == "center":
        _require_room(transforms.resize, model_image_size, key="transforms.test_crop")
        steps.append(v2.CenterCrop(model_image_size))
    return _to_transform([*steps, *_to_normalised(mean, std)], resize, transforms)


def build_resize(size: ImageSize, interpolation: str) -> v2.Resize:
    """Build the first step of all transforms; a picture of that size already passes unchanged."""
    return v2.Resize(size, interpolation=InterpolationMode(interpolation))


def _to_transform(
    steps: list[torch.nn.Module], resize: ImageSize, transforms: TransformsConfig
) -> Transform:
    is_reduced = transforms.decode == "reduced"
    return Transform(v2.Compose(steps), resize, transforms.interpolation, is_reduced)


def _to_normalised(mean: Sequence[float], std: Sequence[float]) -> list[torch.nn.Module]:
    to_float = v2.ToDtype(torch.float32, scale=True)
    return [v2.PILToTensor(), to_float, v2.Normalize(list(mean), list(std), inplace=True)]


def _require_room(resize: ImageSize, crop: ImageSize, *, key: str) -> None:
    if resize[0] < crop[0] or resize[1] < crop[1]:
        raise ValueError(
            f"transforms.resize: expected at least model.image_size {list(crop)} (height, width), "
            f"which is cropped out of it; got {list(resize)}. Raise it, or set {key} to none"
        )
