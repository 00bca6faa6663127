"""Drawn vehicles: fetching draws them, with a mask of the marks for every picture (ours).

images/<split>/<identity>_c<camera>_<number>.png   masks/<split>/...   identities.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
from PIL import Image
from pydantic import Field

from dcal.config import DatasetConfig, ImageSize, Section
from dcal.data.identities import label_identities
from dcal.data.sources import SourceTable, parse_options
from dcal.data.synthetic_vehicles import MARK_NAMES, choose_vehicles, draw_vehicle
from dcal.data.vehicle_scene import draw_scene
from dcal.paths import write_json

IDENTITIES_FILE = "identities.json"


class Options(Section):
    """What drawn vehicles take under `dataset.options`."""

    image_size: ImageSize  # (height, width) in pixels
    train_identities: Annotated[int, Field(ge=2)]
    val_identities: Annotated[int, Field(ge=0)]
    test_identities: Annotated[int, Field(ge=2)]
    cameras: Annotated[int, Field(ge=2)]  # each sees every identity
    images_per_camera: Annotated[int, Field(ge=2)]  # of an identity; of a test one, 1 is a query
    seed: Annotated[int, Field(ge=0)]  # of identities, cameras and drawing, never of the training

    @property
    def num_identities(self) -> int:
        """Count the identities of all splits."""
        return self.train_identities + self.val_identities + self.test_identities


class _Picture(NamedTuple):
    split: str
    identity: int  # from 1: first those of train, then of val, then of test
    camera: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.split}/{self.identity:04d}_c{self.camera}_{self.number:02d}.png"


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Draw the pictures.

    Raises:
        ValueError: `dataset.source` is set, or the options ask for more identities than there are.
    """
    if dataset.source is not None:
        raise ValueError(
            f"dataset.source: vehicles are drawn, so null is expected; got {dataset.source}"
        )
    options = parse_options(dataset, Options)
    vehicles = choose_vehicles(options.num_identities, seed=options.seed)
    for picture in _list_pictures(options):
        drawn = draw_vehicle(
            vehicles[picture.identity - 1],
            camera=picture.camera,
            seed=options.seed,
            index=picture.number,
            image_size=options.image_size,
        )
        for folder, pixels in (("images", drawn.image), ("masks", drawn.mask)):
            path = target / folder / picture.name
            path.parent.mkdir(parents=True, exist_ok=True)
            # The grain hardly compresses: higher levels cost time and save nothing.
            Image.fromarray(pixels).save(path, compress_level=1)
    write_json(
        target / IDENTITIES_FILE,
        [
            {"identity": identity, "body": vehicle.body, "marks": vehicle.describe_marks()}
            for identity, vehicle in enumerate(vehicles, start=1)
        ],
    )


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the drawn pictures; marks that differ between identities are the discriminative ones.

    Raises:
        FileNotFoundError: The folder holds no drawn vehicles.
    """
    options = parse_options(dataset, Options)
    path = root / IDENTITIES_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run: python -m pipelines.fetch")
    identities = json.loads(path.read_text(encoding="utf-8"))
    pictures = list(_list_pictures(options))
    table = pd.DataFrame(
        {
            "path": [f"images/{picture.name}" for picture in pictures],
            "mask": [f"masks/{picture.name}" for picture in pictures],
            "split": [picture.split for picture in pictures],
            "identity": [picture.identity for picture in pictures],
            "camera": [picture.camera for picture in pictures],
            # 0 = the right side of a vehicle is seen, 1 = the left one.
            "view": [
                int(draw_scene(picture.camera, seed=options.seed).is_flipped)
                for picture in pictures
            ],
        }
    )
    table, class_names = label_identities(table)
    differing = [
        mark for mark in MARK_NAMES if len({entry["marks"][mark] for entry in identities}) > 1
    ]
    warnings = ["dataset.val_ratio is not used, because val is drawn"] if dataset.val_ratio else []
    return SourceTable(table, class_names, list(MARK_NAMES), differing, warnings)


def _list_pictures(options: Options) -> Iterator[_Picture]:
    splits = (
        ["train"] * options.train_identities
        + ["val"] * options.val_identities
        + ["test"] * options.test_identities
    )
    for identity, split in enumerate(splits, start=1):
        for camera in range(1, options.cameras + 1):
            for number in range(options.images_per_camera):
                side = "gallery" if number else "query"
                yield _Picture(side if split == "test" else split, identity, camera, number)
