"""A generated archive folder with the layout and the traps of CUB-200-2011."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.data.factory import write_picture

# Folder and files spell the species differently, as in the official archive.
PICTURES = [
    "001.Black_footed_Albatross/Black_Footed_Albatross_0001_796111.jpg",
    "001.Black_footed_Albatross/Black_Footed_Albatross_0002_55.jpg",
    "001.Black_footed_Albatross/Black_Footed_Albatross_0003_56.jpg",
    "001.Black_footed_Albatross/Black_Footed_Albatross_0004_57.jpg",
    "002.Chuck_will_Widow/Chuck_Will_Widow_0001_796982.jpg",
    "002.Chuck_will_Widow/Chuck_Will_Widow_0002_33.jpg",
    "002.Chuck_will_Widow/Chuck_Will_Widow_0003_34.jpg",
    "002.Chuck_will_Widow/Chuck_Will_Widow_0004_35.jpg",
]
IS_TRAINING = [0, 1, 1, 1, 1, 0, 1, 1]
PARTS = ["back", "left eye", "right wing"]
# (image_id, part_id, x, y, visible); the coordinates of unseen parts are 0.
PART_LOCATIONS = [
    (image_id, part_id, *((0.0, 0.0, 0) if part_id == image_id % 3 + 1 else (part_id, image_id, 1)))
    for image_id in range(1, 9)
    for part_id in range(1, 4)
]


def write_cub(root: Path) -> Path:
    """Write CUB_200_2011/ below `root`; picture 2 is grey and a stray copy lies beside it."""
    top = root / "CUB_200_2011"
    for number, name in enumerate(PICTURES):
        write_picture(top / "images" / name, seed=number, size=(30, 40))
    grey = top / "images" / PICTURES[1]
    Image.open(grey).convert("L").save(grey)
    write_picture(grey.with_name(grey.stem + "_rgb.jpg"), seed=99)
    (top / "parts").mkdir()
    ids = range(1, len(PICTURES) + 1)
    write_lines(top / "images.txt", [f"{i} {name}" for i, name in enumerate(PICTURES, start=1)])
    write_lines(top / "classes.txt", [f"{i} {PICTURES[4 * i - 1].split('/')[0]}" for i in (1, 2)])
    # Another order than images.txt: only the ids join.
    write_lines(top / "image_class_labels.txt", [f"{i} {1 + (i > 4)}" for i in reversed(ids)])
    write_lines(top / "train_test_split.txt", [f"{i} {IS_TRAINING[i - 1]}" for i in ids])
    write_lines(top / "bounding_boxes.txt", [f"{i} {i}.0 2.0 20.0 25.5" for i in reversed(ids)])
    write_lines(top / "parts/parts.txt", [f"{i} {name}" for i, name in enumerate(PARTS, start=1)])
    write_lines(top / "parts/part_locs.txt", [" ".join(map(str, row)) for row in PART_LOCATIONS])
    return top


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file of records."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
