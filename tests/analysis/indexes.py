"""Made-up indexes with counts that can be told by looking, and a random large one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dcal.data.index import REQUIRED_COLUMNS


def build_index_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return an index of these rows; each is another picture of 60 x 40 where it does not say."""
    plain = {"label": -1, "class_name": "", "width": 60, "height": 40}
    told = [
        {"path": f"{row['split']}/{number}.png", "sha256": f"{number:064x}", **plain, **row}
        for number, row in enumerate(rows)
    ]
    table = pd.DataFrame(told).reindex(columns=list(REQUIRED_COLUMNS))
    return table.astype(REQUIRED_COLUMNS)


def build_classes(counts: dict[str, list[int]]) -> pd.DataFrame:
    """Return an index with so many pictures of each class, by split."""
    return build_index_table(
        [
            {"split": split, "label": label, "class_name": f"class {label}"}
            for split, numbers in counts.items()
            for label, number in enumerate(numbers)
            for _ in range(number)
        ]
    )


def build_vehicles() -> pd.DataFrame:
    """Return three train identities, two asked for, a distractor, junk, and an unknown camera."""
    seen = {
        "train": [(1, 1), (1, 2), (2, 1), (2, 1), (3, 3)],
        "query": [(11, 1), (11, None), (12, 2)],
        "gallery": [(11, 1), (11, 2), (11, 2), (11, None), (12, 2), (12, 3), (0, 1), (-1, 3)],
    }
    labels = {1: 0, 2: 1, 3: 2}
    return build_index_table(
        [
            {
                "split": split,
                "identity": identity,
                "camera": camera,
                "label": labels[identity] if split == "train" else -1,
            }
            for split, pictures in seen.items()
            for identity, camera in pictures
        ]
    )


def draw_vehicles(num_pictures: int, *, seed: int = 0) -> pd.DataFrame:
    """Return a random Re-ID index with every kind of picture: junk, distractors, no camera."""
    generator = np.random.default_rng(seed)
    splits = generator.choice(["train", "query", "gallery"], num_pictures, p=[0.3, 0.1, 0.6])
    num_identities = max(num_pictures // 30, 4)
    identities = generator.integers(1, num_identities // 2 + 1, num_pictures)
    identities[splits != "train"] += num_identities
    in_gallery = np.flatnonzero(splits == "gallery")
    identities[in_gallery[::7]], identities[in_gallery[1::7]] = -1, 0
    cameras = pd.array(generator.integers(1, 16, num_pictures), dtype="Int64")
    cameras[generator.random(num_pictures) < 0.1] = pd.NA
    codes = np.searchsorted(np.unique(identities[splits == "train"]), identities)
    table = pd.DataFrame(
        {
            "path": [f"{number}.png" for number in range(num_pictures)],
            "split": splits,
            "label": np.where(splits == "train", codes, -1),
            "class_name": "",
            "identity": pd.array(identities, dtype="Int64"),
            "camera": cameras,
            "view": pd.array([None] * num_pictures, dtype="Int64"),
            "width": generator.integers(20, 400, num_pictures),
            "height": generator.integers(20, 400, num_pictures),
            "sha256": [f"{n:064x}" for n in generator.integers(0, 20 * num_pictures, num_pictures)],
        }
    )
    return table.astype(REQUIRED_COLUMNS)
