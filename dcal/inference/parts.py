"""Part annotation of one picture as a mask: from a mask file, or from part points (ours)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from dcal.data.datamodule import Pictures
from dcal.data.transforms import build_test_transform
from dcal.inference.scoring import Scoring, get_normalisation
from dcal.metrics.localization import POINT_RADIUS_RATIO, build_point_mask


def load_part_mask(
    picture: Mapping[str, Any], *, root: Path, part_names: Sequence[str], parts: Sequence[str]
) -> Tensor | None:
    """Return where the given parts of a picture are: bool (height, width), in its own pixels.

    Part points become discs whose radius is 0.05 of the object's size, the square root of its
    box's area (of the picture's, without a box).

    Args:
        picture: A row of the index.
        root: The folder that its paths start from.
        part_names: All parts; part i is the mask's value i + 1.
        parts: Those wanted.

    Returns:
        The mask, which may be empty; None where the picture has no part annotation.

    Raises:
        OSError: The mask file is gone or damaged.
    """
    if isinstance(picture.get("mask"), str):
        with Image.open(root / picture["mask"]) as opened:
            values = np.asarray(opened)
        wanted = [part_names.index(part) + 1 for part in parts]
        return torch.from_numpy(np.isin(values, wanted))
    if not isinstance(picture.get("part_names"), (list, tuple, np.ndarray)):
        return None
    points = [
        (float(x), float(y))
        for name, x, y in zip(
            picture["part_names"], picture["part_xs"], picture["part_ys"], strict=True
        )
        if name in parts
    ]
    size = (int(picture["height"]), int(picture["width"]))
    return build_point_mask(points, size=size, radius=POINT_RADIUS_RATIO * _object_size(picture))


class PartMasks:
    """Gives, for a row of an index, where its discriminative parts are in the model's input."""

    def __init__(self, pictures: Pictures, transform: Callable[..., Tensor]) -> None:
        self.pictures = pictures
        self.transform = transform  # what `build_test_transform` returned

    def __call__(self, row: int) -> Tensor | None:
        """Return a mask (height, width) of the model's input; None without part annotation."""
        report = self.pictures.report
        mask = load_part_mask(
            {str(key): value for key, value in self.pictures.table.loc[row].items()},
            root=self.pictures.root,
            part_names=report.part_names,
            parts=report.discriminative_parts,
        )
        return None if mask is None else to_model_input(mask, self.transform)


def build_part_masks(scoring: Scoring) -> PartMasks:
    """Return what gives each picture's parts in the pixels of the model's input."""
    mean, std = get_normalisation(scoring.model)
    image_size = scoring.config.model.image_size
    transform = build_test_transform(scoring.config.transforms, image_size, mean=mean, std=std)
    return PartMasks(scoring.pictures, transform)


def to_model_input(mask: Tensor, transform: Callable[..., Tensor]) -> Tensor:
    """Resize and crop a mask as `transform` does with its picture: (height, width) of the input.

    Args:
        mask: Bool, in the picture's own pixels.
        transform: What `build_test_transform` returned; it changes a mask's place, not its values.
    """
    transformed = transform(tv_tensors.Mask(mask[None]))
    return transformed.as_subclass(Tensor)[0].bool()


def _object_size(picture: Mapping[str, Any]) -> float:
    width, height = picture.get("box_width"), picture.get("box_height")
    if width is None or height is None or math.isnan(width) or math.isnan(height):
        width, height = picture["width"], picture["height"]
    return math.sqrt(float(width) * float(height))
