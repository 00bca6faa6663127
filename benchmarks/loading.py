"""How many pictures a core makes ready in a second, and how long a training step waits for them.

    python -m benchmarks.loading [--pictures FOLDER] [--rounds 7]
        [--output results/benchmarks/loading.json]

Three ways to read a picture take turns, round by round, over the same files: `raw` decodes it,
`reduced` is transforms.decode=reduced, `cached` reads what dataset.cache keeps. Each ends with the
normalised tensor of a training picture; `x floor` is its time over that of decoding alone, or of
reading the cached pixels. Pictures are drawn JPEGs of fixed sizes and, with
--pictures, up to 100 of a folder, and ten of those enlarged to 12 megapixels. Times are those of
one thread on the processor, with all files in memory, so what a disk or other processes take is
not in them. Printed are medians over rounds, least and most, the ratio to raw within a round, and
by how many of 256 levels reduced pictures differ from raw ones after the first step.

Then DCAL on DeiT-Tiny at 224 x 224 trains on all threads, 8 pictures a step, and the share of a
step that is spent waiting for its batch is measured with 0 and 1 workers.
"""

from __future__ import annotations

import os

# As stage train has it: idle threads that spin starve the loader.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL.features
import torch
import torchvision
from rich.console import Console
from rich.table import Table

from benchmarks.loading_waits import measure_waits
from benchmarks.machine import describe_machine
from benchmarks.photographs import write_enlarged, write_photograph
from dcal.config import CacheConfig, TransformsConfig
from dcal.data.cached import open_cache, write_cache
from dcal.data.images import is_picture, load_image
from dcal.data.transforms import Transform, build_resize, build_train_transform
from dcal.paths import write_json

Readers = dict[str, Callable[[int], object]]

WAYS = ("raw", "reduced", "cached")
MEAN = STD = (0.5, 0.5, 0.5)
SHARED: dict[str, Any] = {
    "test_crop": "none",
    "flip_ratio": 0.5,
    "interpolation": "bicubic",
    "decode": "exact",
}
PHONE = (3000, 4000)  # 12 megapixels
MAX_GIVEN, NUM_ENLARGED = 100, 10


class Setting(NamedTuple):
    """A section `transforms` and the model's picture size."""

    transforms: TransformsConfig
    image_size: tuple[int, int]

    def build(self, decode: str) -> Transform:
        """Build the transform of training pictures."""
        transforms = self.transforms.model_copy(update={"decode": decode})
        return build_train_transform(transforms, self.image_size, mean=MEAN, std=STD)


# As in experiments/transforms, which takes packages to be composed that are not needed here.
SETTINGS = {
    "fgvc": Setting(
        TransformsConfig(
            **SHARED, resize=(550, 550), train_crop="random", pad=0, color_jitter=0, erase_ratio=0
        ),
        (448, 448),
    ),
    "reid_person": Setting(
        TransformsConfig(
            **SHARED, resize=(256, 128), train_crop="pad", pad=10, color_jitter=0, erase_ratio=0.5
        ),
        (256, 128),
    ),
    "photos_64": Setting(
        TransformsConfig(
            **SHARED, resize=(72, 72), train_crop="random", pad=0, color_jitter=0.2, erase_ratio=0
        ),
        (64, 64),
    ),
}
# Name -> (height, width), how many: sizes as in CUB, Aircraft and Market, and a phone's.
DRAWN = {
    "500 x 375": ((375, 500), 12),
    "1024 x 700": ((700, 1024), 8),
    "64 x 128": ((128, 64), 64),
    "4000 x 3000": (PHONE, 3),
}


def main() -> None:
    """Measure, print tables, write JSON."""
    arguments = _parse_arguments()
    threads = torch.get_num_threads()
    with TemporaryDirectory() as folder:
        os.environ["DCAL_WORK_ROOT"] = folder  # where the cached pictures go
        sources = write_sources(Path(folder), arguments.pictures)
        torch.set_num_threads(1)  # as a loader's worker has
        rows = [
            row
            for setting in SETTINGS
            for source, files in sources.items()
            for row in measure_ways(setting, source, files, rounds=arguments.rounds)
        ]
        torch.set_num_threads(threads)
        waits = measure_waits(
            {name: sources[name] for name in ("500 x 375", "4000 x 3000")},
            Path(folder),
            rounds=arguments.wait_rounds,
        )
    machine = {
        **describe_machine("cpu", threads),
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "libjpeg_turbo": PIL.features.version("libjpeg_turbo"),
    }
    record = {"machine": machine, "rows": rows, "waits": waits}
    write_json(arguments.output, record)
    console = Console(width=120)
    for table in (build_ways_table(rows), build_waits_table(waits)):
        console.print(table)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="a folder of photographs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--wait-rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/loading.json"))
    return parser.parse_args()


def write_sources(folder: Path, given: Path | None) -> dict[str, list[Path]]:
    """Draw JPEGs below a folder, and list those that were given."""
    sources: dict[str, list[Path]] = {}
    for name, (size, count) in DRAWN.items():
        files = [folder / name / f"{number}.jpg" for number in range(count)]
        for seed, path in enumerate(files):
            write_photograph(path, size=size, seed=seed)
        sources[name] = files
    if given is not None:
        found = sorted(path for path in given.rglob("*") if is_picture(path))
        # Some of all folders, not the first folder's alone.
        chosen = found[:: -(-len(found) // MAX_GIVEN) or 1]
        if not chosen:
            raise SystemExit(f"error: --pictures: expected pictures below {given}; there are none")
        originals = chosen[:: -(-len(chosen) // NUM_ENLARGED)]
        enlarged = [folder / "enlarged" / f"{number}.jpg" for number in range(len(originals))]
        for path, original in zip(enlarged, originals, strict=True):
            write_enlarged(path, load_image(original), size=PHONE)
        sources |= {"given": chosen, "given, enlarged": enlarged}
    return sources


def measure_ways(
    name: str, source: str, files: Sequence[Path], *, rounds: int
) -> list[dict[str, Any]]:
    """Return a row for each way to read these files under a setting."""
    setting = SETTINGS[name]
    readers, floors = build_readers(setting, files)
    seconds = _take_turns({**readers, **floors}, len(files), rounds=rounds)
    difference = measure_difference(setting, files)
    return [
        {
            "setting": name,
            "source": source,
            "way": way,
            "pictures": len(files),
            **summarise(seconds[way], seconds["raw"], len(files)),
            "over_floor": statistics.median(
                ours / least
                for ours, least in zip(seconds[way], seconds[f"{way} floor"], strict=True)
            ),
            **(difference if way == "reduced" else {}),
        }
        for way in readers
    ]


def build_readers(setting: Setting, files: Sequence[Path]) -> tuple[Readers, Readers]:
    """Return what makes the i-th of the files a model input, by way, and what only decodes it.

    Cached pictures are made here; of one of them, reading its pixels is the floor.
    """
    exact, reduced = setting.build("exact"), setting.build("reduced")
    cache = CacheConfig(resize=exact.resize, interpolation=setting.transforms.interpolation)
    paths = [str(path.absolute()) for path in files]
    digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()
    table = pd.DataFrame({"path": paths})
    write_cache("loading", cache, table=table, root=Path(), index_digest=digest)
    pictures = open_cache("loading", cache, index_digest=digest, num_pictures=len(files))
    assert pictures is not None

    def read_cached(row: int) -> torch.Tensor:
        return exact(pictures.read(row))

    def read_pixels(row: int) -> bytes:
        picture = pictures.read(row)
        assert picture is not None
        return picture.tobytes()

    readers: Readers = {
        "raw": lambda row: exact(exact.load(files[row])),
        "reduced": lambda row: reduced(reduced.load(files[row])),
        "cached": read_cached,
    }
    floors: Readers = {
        "raw floor": lambda row: exact.load(files[row]),
        "reduced floor": lambda row: reduced.load(files[row]),
        "cached floor": read_pixels,
    }
    return readers, floors


def _take_turns(readers: Readers, num_files: int, *, rounds: int) -> dict[str, list[float]]:
    """Return seconds on the processor by round; the first round warms up and is dropped."""
    seconds: dict[str, list[float]] = {way: [] for way in readers}
    for _ in range(rounds + 1):
        for way, read in readers.items():
            started = time.thread_time()
            for row in range(num_files):
                read(row)
            seconds[way].append(time.thread_time() - started)
    return {way: times[1:] for way, times in seconds.items()}


def summarise(times: list[float], raw: list[float], num_files: int) -> dict[str, float]:
    """Return pictures a second: median, least, most, and the median of the ratios to raw."""
    rates = [num_files / seconds for seconds in times]
    return {
        "pictures_per_second": statistics.median(rates),
        "pictures_per_second_min": min(rates),
        "pictures_per_second_max": max(rates),
        "ratio": statistics.median(theirs / ours for ours, theirs in zip(times, raw, strict=True)),
    }


def measure_difference(setting: Setting, files: Sequence[Path]) -> dict[str, float]:
    """Return by how many of 256 levels reduced pictures differ after the first step."""
    reduced = setting.build("reduced")
    resize = build_resize(reduced.resize, reduced.interpolation)
    means, largest, num_reduced = [], 0, 0
    for path in files:
        ours, exact = reduced.load(path), load_image(path)
        num_reduced += ours.size != exact.size
        levels = [np.asarray(resize(image)).astype(int) for image in (ours, exact)]
        difference = np.abs(levels[0] - levels[1])
        means.append(float(difference.mean()))
        largest = max(largest, int(difference.max()))
    return {
        "pictures_reduced": num_reduced,
        "mean_difference": statistics.mean(means),
        "max_difference": largest,
    }


def build_ways_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a row a setting, source and way."""
    columns = "setting,pictures,way,a second and core,range,x raw,levels off,x floor".split(",")
    table = Table(*columns)
    for row in rows:
        low, high = row["pictures_per_second_min"], row["pictures_per_second_max"]
        mean, largest = row.get("mean_difference"), row.get("max_difference")
        table.add_row(
            row["setting"],
            row["source"],
            row["way"],
            f"{row['pictures_per_second']:.0f}",
            f"{low:.0f}-{high:.0f}",
            f"{row['ratio']:.2f}",
            "" if mean is None else f"{mean:.2f}, at most {largest}",
            f"{row['over_floor']:.2f}",
        )
    return table


def build_waits_table(waits: Sequence[dict[str, Any]]) -> Table:
    """Return a row a source, way and number of workers."""
    table = Table("pictures", "way", "workers", "s a step", "s waiting", "share", "range")
    for row in waits:
        table.add_row(
            row["source"],
            row["way"],
            str(row["workers"]),
            f"{row['step_seconds']:.2f}",
            f"{row['wait_seconds']:.3f}",
            f"{row['share']:.1%}",
            f"{row['share_min']:.1%}-{row['share_max']:.1%}",
        )
    return table


if __name__ == "__main__":
    main()
