"""How large pictures are, and what making them the model's size does to them (ours)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from dcal.analysis.data_counts import list_splits
from dcal.config import Config

STRETCHED = 1.5  # as many times wider or narrower as the picture was is told of


class InputSize(NamedTuple):
    """What pictures are resized to, whatever their shape, and the keys that say so."""

    height: int
    width: int
    key: str


class SizeLeak(NamedTuple):
    """How well a picture's width and height alone tell its class, on the test split."""

    accuracy: float
    majority: float  # what the commonest class gets
    num_pictures: int


def find_input_size(config: Config, *, is_train: bool) -> InputSize:
    """Return the size that pictures of train, or of the other splits, are resized to."""
    transforms = config.transforms
    is_cropped = transforms.train_crop == "random" if is_train else transforms.test_crop == "center"
    if is_cropped:
        return InputSize(*transforms.resize, key="transforms.resize")
    return InputSize(*config.model.image_size, key="model.image_size")


def describe_sizes(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Summarise widths, heights and shapes by split.

    Returns:
        A row a split: pictures; sizes (different ones); width and height, each as smallest, median
        and largest; shape (median of width over height); resized to; enlarged (share of pictures of
        which a side grows); stretched (share whose shape changes over `STRETCHED` times).
    """
    rows = {}
    for split in list_splits(table):
        part = table[table["split"] == split]
        size = find_input_size(config, is_train=split == "train")
        rows[split] = {
            "pictures": len(part),
            "sizes": len(part[["width", "height"]].drop_duplicates()),
            **{side: _spread(part[side]) for side in ("width", "height")},
            "shape": float((part["width"] / part["height"]).median()),
            "resized to": f"{size.width} x {size.height}",
            "enlarged": float(find_enlarged(part, size).mean()),
            "stretched": float((measure_stretch(part, size) > STRETCHED).mean()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split")


def find_enlarged(table: pd.DataFrame, size: InputSize) -> pd.Series:
    """Say of which pictures a side grows when they are resized."""
    return (table["width"] < size.width) | (table["height"] < size.height)


def measure_stretch(table: pd.DataFrame, size: InputSize) -> pd.Series:
    """Return how many times, at least 1, wider or narrower resizing makes each picture."""
    change = table["width"] / table["height"] * size.height / size.width
    return change.where(change >= 1, 1 / change)


def measure_size_leak(table: pd.DataFrame) -> SizeLeak | None:
    """Guess the class of test pictures by the commonest class of train pictures of their size.

    Where train has no picture of that size, the commonest class of all is the guess.

    Returns:
        None without test pictures.
    """
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    if test.empty:
        return None
    commonest = int(train["label"].mode()[0])
    counts = train.groupby(["width", "height", "label"]).size().rename("count").reset_index()
    best = counts.sort_values(["count", "label"], ascending=[False, True], kind="stable")
    guesses = best.drop_duplicates(["width", "height"]).set_index(["width", "height"])["label"]
    guessed = test.join(guesses.rename("guess"), on=["width", "height"])["guess"].fillna(commonest)
    return SizeLeak(
        accuracy=float(np.mean(guessed == test["label"])),
        majority=float(np.mean(test["label"] == commonest)),
        num_pictures=len(test),
    )


def _spread(values: pd.Series) -> str:
    low, middle, high = (int(of) for of in (values.min(), values.median(), values.max()))
    return str(low) if low == high else f"{low} / {middle} / {high}"
