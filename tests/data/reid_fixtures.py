"""Generated folders with the layouts and the traps of Market-1501 and VeRi-776."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.data.factory import write_picture

# Two train identities that two cameras saw, one that one camera saw, one with one picture.
MARKET_TRAIN = [
    *(f"{pid}_c{camera}s1_00{shot}051_00.jpg" for pid in ("0007", "0002", "0011", "0030")
      for camera in (1, 2) for shot in (1, 2)),
    "0020_c3s1_001051_00.jpg",
    "0020_c3s1_002051_00.jpg",
    "0021_c3s1_001051_00.jpg",
]  # fmt: skip
# 0004 has positives of its own camera only.
MARKET_QUERY = ["0001_c1s1_001051_00.jpg", "0003_c2s1_001051_00.jpg", "0004_c1s1_001051_00.jpg"]
MARKET_GALLERY = [
    "-1_c1s1_000401_03.jpg",
    "-1_c6s4_000401_03.jpg",
    "0000_c1s1_000151_01.jpg",
    "0000_c3s2_000151_01.jpg",
    "0001_c1s1_001076_01.jpg",
    "0001_c2s1_001076_01.jpg.jpg",
    "0003_c1s1_001076_01.jpg",
    "0004_c1s1_001076_01.jpg",
]

VERI_TRAIN = [
    f"{pid:04d}_c{camera:03d}_000{shot:05d}_0.jpg"
    for pid, cameras in ((1, (1, 20)), (3, (2, 5)), (7, (20, 11)), (41, (9, 10)), (776, (4, 20)))
    for camera in cameras
    for shot in (300, 301)
]
VERI_GALLERY = sorted(
    f"{pid:04d}_c{camera:03d}_000{shot:05d}_{box}.jpg"
    for pid, cameras in ((2, (1, 2, 10, 19)), (5, (3, 12)), (14, range(4, 20)))
    for camera in cameras
    for shot, box in ((600, 0), (611, 4))
)
# One of each vehicle and camera, for two cameras: copies of gallery pictures.
VERI_QUERY = [
    "0002_c001_00000600_0.jpg",
    "0002_c010_00000600_0.jpg",
    "0005_c003_00000600_0.jpg",
    "0014_c019_00000600_0.jpg",
]


def write_pictures(folder: Path, names: list[str], *, seed: int = 0) -> None:
    """Write pictures of noise, each another."""
    for number, name in enumerate(names):
        write_picture(folder / name, seed=1000 * seed + number)


def write_market(root: Path) -> Path:
    """Write the three folders of Market-1501 with what lies in the real ones."""
    write_pictures(root / "bounding_box_train", MARKET_TRAIN, seed=1)
    write_pictures(root / "query", MARKET_QUERY, seed=2)
    write_pictures(root / "bounding_box_test", MARKET_GALLERY, seed=3)
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (root / name / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "gt_bbox").mkdir()
    (root / "readme.txt").write_text("Market-1501", encoding="utf-8")
    return root


def write_veri(root: Path) -> Path:
    """Write VeRi/ below `root`, byte for byte as crooked as copies of it are."""
    top = root / "VeRi"
    write_pictures(top / "image_train", VERI_TRAIN, seed=1)
    write_pictures(top / "image_test", VERI_GALLERY, seed=2)
    (top / "image_query").mkdir()
    for name in VERI_QUERY:
        shutil.copyfile(top / "image_test" / name, top / "image_query" / name)
    # Windows line ends and blanks after the names.
    for name, lines in (
        ("name_train.txt", VERI_TRAIN),
        ("name_query.txt", VERI_QUERY),
        ("name_test.txt", VERI_GALLERY),
    ):
        (top / name).write_bytes("".join(f"{line} \r\n" for line in lines).encode("ascii"))
    for stem, is_junk in (("gt_index", False), ("jk_index", True)):
        rows = [list_answers(query, is_junk=is_junk) for query in VERI_QUERY]
        text = "".join(" ".join(map(str, row)) + " \r\n" for row in rows)
        (top / f"{stem}.txt").write_bytes(text.encode("ascii"))
    (top / "train_label.xml").write_bytes(make_xml(VERI_TRAIN, is_well_formed=False))
    (top / "test_label.xml").write_bytes(make_xml(VERI_GALLERY, is_well_formed=True))
    (top / "list_type.txt").write_bytes("1 sedan\r\n".encode("gb2312"))
    return top


def list_answers(query: str, *, is_junk: bool) -> list[int]:
    """Return the numbers of a query's lines in name_test.txt, from 1."""
    return [
        number
        for number, name in enumerate(VERI_GALLERY, start=1)
        if name[:4] == query[:4] and (name[6:9] == query[6:9]) == is_junk
    ]


def make_xml(names: list[str], *, is_well_formed: bool) -> bytes:
    """Return a label file that declares gb2312; the other copy lacks its end and has a bare &."""
    items = "".join(
        f'<Item imageName="{name}" vehicleID="{name[:4]}" cameraID="{name[5:9]}" colorID="1" '
        'typeID="4" />\r\n'
        for name in names
    )
    end = "</Items>\r\n</TrainingImages>" if is_well_formed else "<Item note=&>"
    head = '<?xml version="1.0" encoding="gb2312"?>\r\n<TrainingImages Version="1.0">\r\n'
    return (head + f'<Items number="{len(names)}">\r\n' + items + end).encode("gb2312")


def write_key_points(path: Path, names: list[str], *, num_doubled: int) -> Path:
    """Write a list of key points whose first lines come twice; the view is the camera's rest."""
    lines = [
        f"{name} {' '.join(['-1 -1'] * 19)} 12.5 40 {int(name[6:9]) % 8} \r\n" for name in names
    ]
    path.write_bytes("".join([*lines, *lines[:num_doubled]]).encode("ascii"))
    return path
