"""Generated sets in the layouts of Stanford Cars, FGVC-Aircraft and MSMT17, traps included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from tests.data.factory import write_picture

# A slash, as the real set has it, makes class folders impossible.
CAR_NAMES = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012"]
# (class from 1, box x1, y1, x2, y2), by split; the file names of both splits are the same.
CARS = {
    "train": [
        (1, 1, 2, 255, 100),
        (2, 39, 116, 569, 375),
        (3, 5, 5, 6, 6),
        (2, 255, 255, 256, 300),
    ],
    "test": [(3, 10, 20, 300, 255), (1, 2, 2, 20, 20), (2, 1, 1, 1, 1)],
}
# Not in alphabetical order, which the class files do not promise.
VARIANTS = ["F-16A/B", "BAE 146-200", "F/A-18", "A300B4"]
FAMILIES = {"F-16A/B": "F-16", "BAE 146-200": "BAE 146", "F/A-18": "F/A-18", "A300B4": "A300"}
MAKERS = {
    "F-16A/B": "Lockheed Martin",
    "BAE 146-200": "British Aerospace",
    "F/A-18": "McDonnell Douglas",
    "A300B4": "Airbus",
}
BANNER = (7, 200, 11)
MSMT_SLOTS = ("0303morning", "0113noon", "0114afternoon")


def write_cars(root: Path) -> Path:
    """Write the split packaging below `root`."""
    for split, records in CARS.items():
        names = [f"{number:05d}.jpg" for number in range(1, len(records) + 1)]
        for number, name in enumerate(names):
            write_picture(root / f"cars_{split}" / name, seed=_seed(split, number), size=(40, 60))
    (root / "devkit").mkdir()
    save_cells(root / "devkit/cars_meta.mat", "class_names", CAR_NAMES)
    write_car_records(root / "devkit/cars_train_annos.mat", CARS["train"])
    write_car_records(root / "devkit/cars_test_annos.mat", CARS["test"], has_class=False)
    write_car_records(root / "cars_test_annos_withlabels.mat", CARS["test"])
    lines = "".join(f"{record[0]}\n" for record in CARS["train"])
    (root / "devkit/train_perfect_preds.txt").write_text(lines)
    return root


def write_joint_cars(root: Path) -> Path:
    """Write the joint packaging below `root`: all pictures in one folder, one annotation."""
    records = []
    for split, boxes in CARS.items():
        for number, (label, *box) in enumerate(boxes):
            name = f"{len(records) + 1:06d}.jpg"
            write_picture(root / "car_ims" / name, seed=_seed(split, number), size=(40, 60))
            corners = dict(zip(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), box, strict=True))
            fields: dict[str, Any] = {"relative_im_path": f"car_ims/{name}", **corners}
            records.append({**fields, "class": label, "test": int(split == "test")})
    names = np.array([CAR_NAMES], dtype=object)
    content = {"annotations": make_structs(records), "class_names": names}
    savemat(root / "cars_annos.mat", content)
    return root


def write_car_records(
    path: Path, records: list[tuple[int, ...]], *, has_class: bool = True
) -> None:
    """Write an annotation with the fields in the files' own order: x1, y1, x2, y2."""
    rows = []
    for number, (label, *box) in enumerate(records, start=1):
        row: dict[str, Any] = dict(
            zip(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), box, strict=True)
        )
        if has_class:
            row["class"] = label
        rows.append({**row, "fname": f"{number:05d}.jpg"})
    savemat(path, {"annotations": make_structs(rows)})


def make_structs(rows: list[dict[str, Any]]) -> NDArray[np.void]:
    """Return a 1 x N struct array whose numbers are of the smallest unsigned type, each 1 x 1."""
    structs = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for number, row in enumerate(rows):
        for name, value in row.items():
            structs[0, number][name] = (
                value
                if isinstance(value, str)
                else np.array([[value]], dtype=np.min_scalar_type(value))
            )
    return structs


def save_cells(path: Path, variable: str, names: list[str]) -> None:
    """Write a 1 x N cell array of texts."""
    savemat(path, {variable: np.array([names], dtype=object)})


def write_aircraft(root: Path) -> Path:
    """Write fgvc-aircraft-2013b/ below `root`: per variant 2 train, 2 val and 1 test pictures."""
    top = root / "fgvc-aircraft-2013b" / "data"
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    number = 0
    for split, count in (("train", 2), ("val", 2), ("test", 1)):
        for variant in reversed(VARIANTS):
            for _ in range(count):
                number += 1
                name = f"{34309 * number:07d}"
                splits[split].append((name, variant))
                _write_with_banner(top / "images" / f"{name}.jpg", seed=number)
    # Blanks after the names, as copies have them.
    _write(top / "variants.txt", [f"{name} " for name in VARIANTS])
    _write(top / "families.txt", [FAMILIES[name] for name in VARIANTS])
    _write(top / "manufacturers.txt", [MAKERS[name] for name in VARIANTS])
    for split, rows in splits.items():
        _write(top / f"images_{split}.txt", [name for name, _ in rows])
        _write(top / f"images_variant_{split}.txt", [f"{name} {kind} " for name, kind in rows])
        _write(
            top / f"images_family_{split}.txt", [f"{name} {FAMILIES[kind]}" for name, kind in rows]
        )
        _write(
            top / f"images_manufacturer_{split}.txt",
            [f"{name} {MAKERS[kind]}" for name, kind in rows],
        )
    boxes = [
        f"{name} 1 2 30 {20 + place}"
        for rows in splits.values()
        for place, (name, _) in enumerate(rows)
    ]
    _write(top / "images_box.txt", boxes)
    return top.parent


def write_msmt17(root: Path, *, version: str = "V1") -> Path:
    """Write MSMT17_V1/ or MSMT17_V2/ below `root`: 4 train persons and 3 others, from 0 each."""
    top = root / f"MSMT17_{version}"
    train, test = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}[version]
    lists: dict[str, list[str]] = {name: [] for name in ("train", "val", "query", "gallery")}
    for folder, persons in ((train, 4), (test, 3)):
        for person in range(persons):
            for number, camera in enumerate((1, 15, 1, 10, 15, 10)):
                slot = MSMT_SLOTS[number % 3]
                name = (
                    f"{person:04d}/{person:04d}_{number:03d}_{camera:02d}_{slot}_0008_{number}.jpg"
                )
                seed = 1000 * (folder == test) + 10 * person + number
                write_picture(top / folder / name, seed=seed, size=(32, 16))
                split = "val" if number == 5 else "train"
                if folder == test:
                    split = "query" if number < 2 else "gallery"
                lists[split].append(f"{name} {person}")
    for split, lines in lists.items():
        _write(top / f"list_{split}.txt", lines)
    return top


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_with_banner(path: Path, *, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    pixels[-20:] = BANNER
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without loss, whatever the suffix says: the test looks for the banner's very colour.
    Image.fromarray(pixels).save(path, format="PNG")


def _seed(split: str, number: int) -> int:
    return number + 100 * (split == "test")
