"""Drawn birds: fetching draws them, with a mask of the parts for every picture (ours).

images/<split>/<class>/<number>.png   masks/<split>/<class>/<number>.png   classes.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
from PIL import Image
from pydantic import Field

from dcal.config import DatasetConfig, ImageSize, Section
from dcal.data.sources import SourceTable, parse_options
from dcal.data.synthetic import (
    PART_NAMES,
    Combination,
    choose_classes,
    describe_parts,
    draw_bird,
)
from dcal.paths import write_json

CLASSES_FILE = "classes.json"
_Count = Annotated[int, Field(ge=1)]


class Options(Section):
    """What drawn birds take under `dataset.options`."""

    image_size: ImageSize  # (height, width) in pixels
    num_classes: Annotated[int, Field(ge=2)]
    train_images: _Count  # per class, as the next two
    val_images: Annotated[int, Field(ge=0)]
    test_images: _Count
    seed: Annotated[int, Field(ge=0)]  # of the classes and the drawing, never `seed` of the run

    @property
    def num_images(self) -> dict[str, int]:
        """Pictures of a class by split, in the order that they are numbered in."""
        return {"train": self.train_images, "val": self.val_images, "test": self.test_images}


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Draw the pictures.

    Raises:
        ValueError: `dataset.source` is set, or the options ask for more classes than there are.
    """
    if dataset.source is not None:
        raise ValueError(
            f"dataset.source: birds are drawn, so null is expected; got {dataset.source}"
        )
    options = parse_options(dataset, Options)
    classes = choose_classes(options.num_classes, seed=options.seed)
    names = [name_class(label, combination) for label, combination in enumerate(classes)]
    for name, combination in zip(names, classes, strict=True):
        _draw_class(target, name, combination, options=options)
    write_json(
        target / CLASSES_FILE,
        [
            {"name": name, "parts": describe_parts(combination)}
            for name, combination in zip(names, classes, strict=True)
        ],
    )


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the drawn pictures; the parts that differ between classes are the discriminative ones.

    Raises:
        FileNotFoundError: The folder holds no drawn birds.
    """
    options = parse_options(dataset, Options)
    path = root / CLASSES_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run: python -m pipelines.fetch")
    classes = json.loads(path.read_text(encoding="utf-8"))
    names = [entry["name"] for entry in classes]
    rows = [
        {
            "path": f"images/{split}/{name}/{number:04d}.png",
            "mask": f"masks/{split}/{name}/{number:04d}.png",
            "split": split,
            "label": label,
        }
        for label, name in enumerate(names)
        for split, number in _number_images(options)
    ]
    differing = [
        part for part in PART_NAMES if len({entry["parts"][part] for entry in classes}) > 1
    ]
    warnings = ["dataset.val_ratio is not used, because val is drawn"] if dataset.val_ratio else []
    return SourceTable(pd.DataFrame(rows), names, list(PART_NAMES), differing, warnings)


def name_class(label: int, combination: Combination) -> str:
    """Return a short name that is safe as a folder: the label, then the parts seen first."""
    parts = describe_parts(combination)
    return f"{label:03d}_{parts['crown']}_{parts['breast']}_{parts['tail']}"


def _number_images(options: Options) -> list[tuple[str, int]]:
    # Numbered through all splits, so that no picture is in two of them.
    splits = [split for split, number in options.num_images.items() for _ in range(number)]
    return list(zip(splits, range(len(splits)), strict=True))


def _draw_class(target: Path, name: str, combination: Combination, *, options: Options) -> None:
    for split, number in _number_images(options):
        bird = draw_bird(
            combination, seed=options.seed, index=number, image_size=options.image_size
        )
        for folder, pixels in (("images", bird.image), ("masks", bird.mask)):
            path = target / folder / split / name / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            # The grain hardly compresses: higher levels cost time and save nothing.
            Image.fromarray(pixels).save(path, compress_level=1)
