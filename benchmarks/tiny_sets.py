"""MSMT17 and CUB-200-2011 at their full numbers, in their official layouts, of tiny pictures.

Every picture is a JPEG of a few pixels with bytes of its own, so that a set of 126,441 is written
in seconds and no picture is a copy of another.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NUM_CAMERAS = 15
SLOTS = ("0113morning", "0114noon", "0302afternoon", "0303noon")
NUM_PATTERNS = 64
START = b"\xff\xd8"  # of a JPEG
COMMENT = b"\xff\xfe"


class PersonCounts(NamedTuple):
    """How many persons and pictures of theirs a half of MSMT17 has."""

    persons: int
    pictures: tuple[int, int]  # of its two lists: train and val, or query and gallery


MSMT17 = {"train": PersonCounts(1041, (30248, 2373)), "test": PersonCounts(3060, (11659, 82161))}
LISTS = {
    "train": ("list_train.txt", "list_val.txt"),
    "test": ("list_query.txt", "list_gallery.txt"),
}
CUB_COUNTS = {"train": 5994, "test": 5794}
NUM_SPECIES = 200
NUM_PARTS = 15


class PictureMaker:
    """Writes pictures of one size, each of other bytes than all before."""

    def __init__(self, size: tuple[int, int]) -> None:
        random = np.random.default_rng(0)
        self._patterns = []
        for _ in range(NUM_PATTERNS):
            coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(coarse).resize(size[::-1]).save(stream, format="JPEG", quality=60)
            self._patterns.append(stream.getvalue())
        self.num_written = 0

    def write(self, path: Path, kind: int) -> None:
        """Write the next picture; those of a kind have one pattern."""
        pattern = self._patterns[kind % NUM_PATTERNS]
        note = str(self.num_written).encode()
        # A comment right after the start, where every decoder expects segments.
        comment = COMMENT + struct.pack(">H", len(note) + 2) + note
        path.write_bytes(START + comment + pattern[len(START) :])
        self.num_written += 1


def write_msmt17(root: Path, counts: dict[str, PersonCounts] = MSMT17) -> int:
    """Write MSMT17_V1/ below `root` and return the number of its pictures."""
    top = root / "MSMT17_V1"
    maker = PictureMaker((32, 16))
    for half, (persons, pictures) in counts.items():
        lines: dict[str, list[str]] = {name: [] for name in LISTS[half]}
        numbers = [0] * persons
        for name, total in zip(LISTS[half], pictures, strict=True):
            for person in _deal(total, persons):
                number = numbers[person]
                numbers[person] += 1
                # Consecutive pictures of a person are of other cameras.
                camera = (person + number) % NUM_CAMERAS + 1
                slot = SLOTS[number % len(SLOTS)]
                file = f"{person:04d}_{number:03d}_{camera:02d}_{slot}_{number:04d}_0.jpg"
                folder = top / half / f"{person:04d}"
                if number == 0:
                    folder.mkdir(parents=True)
                maker.write(folder / file, person)
                lines[name].append(f"{person:04d}/{file} {person}\n")
        for name, of_list in lines.items():
            (top / name).write_text("".join(of_list), encoding="ascii")
    return maker.num_written


def write_cub(
    root: Path, counts: dict[str, int] = CUB_COUNTS, num_species: int = NUM_SPECIES
) -> int:
    """Write CUB_200_2011/ below `root` and return the number of its pictures."""
    top = root / "CUB_200_2011"
    maker = PictureMaker((48, 64))
    species = [f"{number:03d}.Species_{number}" for number in range(1, num_species + 1)]
    records: dict[str, list[str]] = {
        name: []
        for name in (
            "images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs"
        )
    }  # fmt: skip
    for name in species:
        (top / "images" / name).mkdir(parents=True)
    for split, total in counts.items():
        for label in _deal(total, num_species):
            number = maker.num_written + 1
            file = f"{species[label]}/Species_{number:05d}.jpg"
            maker.write(top / "images" / file, label)
            records["images"].append(f"{number} {file}")
            records["image_class_labels"].append(f"{number} {label + 1}")
            records["train_test_split"].append(f"{number} {int(split == 'train')}")
            records["bounding_boxes"].append(f"{number} 4.0 4.0 40.0 30.0")
            records["parts/part_locs"] += [
                f"{number} {part} {4 * part}.0 {3 * part}.0 {int(part % 3 > 0)}"
                for part in range(1, NUM_PARTS + 1)
            ]
    (top / "parts").mkdir()
    records["classes"] = [f"{number} {name}" for number, name in enumerate(species, start=1)]
    records["parts/parts"] = [f"{number} part {number}" for number in range(1, NUM_PARTS + 1)]
    for name, lines in records.items():
        (top / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    return maker.num_written


def _deal(total: int, groups: int) -> Iterator[int]:
    """Yield groups in turn, as often as there are pictures."""
    for number in range(total):
        yield number % groups
