"""Any bytes in a set's lists and annotations: a table, or one sentence of ours."""

from __future__ import annotations

import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dcal
from dcal.config import DatasetConfig
from dcal.data.indexing import check_table
from dcal.data.sources import get_source
from tests.data.cub_fixture import write_cub
from tests.data.factory import make_dataset
from tests.data.official_fixtures import (
    write_aircraft,
    write_cars,
    write_joint_cars,
    write_msmt17,
)
from tests.data.reid_fixtures import VERI_TRAIN, write_key_points, write_veri
from tests.data.sources.test_table import HEADER, REID_HEADER, REID_ROWS, ROWS

PACKAGE = Path(dcal.__file__).parent
MAX_SECONDS = 20
ROUNDS = 15
MATLAB_ROUNDS = 2  # each starts a process
LIST_PIECES = [b" ", b"\n", b"\r\n", b"\0", b"\xff\xfe", b"-", b"9" * 30, b"../", b'"', b",", b"e9",
               "\u0661".encode(), b"NaN", b"inf", b"\x1b[2J", b"\x85"]  # fmt: skip


def _write_veri(root: Path) -> None:
    write_key_points(write_veri(root) / "views.txt", VERI_TRAIN, num_doubled=2)


def _write_table(root: Path, *, kind: str, suffix: str) -> None:
    lines = [HEADER, *ROWS] if kind == "fgvc" else [REID_HEADER, *REID_ROWS]
    root.mkdir(parents=True)
    path = root / "pictures.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    if suffix == ".parquet":
        pd.read_csv(path).to_parquet(root / "pictures.parquet")
        path.unlink()


AIRCRAFT = {"level": "variant", "cut_banner": True, "official_val": False}
# Set -> source type, kind, options, how it is written, which files are damaged.
SETS: dict[str, tuple[str, str, dict[str, Any], Callable[[Path], Any], str]] = {
    "cub": ("cub", "fgvc", {}, write_cub, "*.txt"),
    "cars": ("cars", "fgvc", {}, write_cars, "*.mat"),
    "joint_cars": ("cars", "fgvc", {}, write_joint_cars, "*.mat"),
    "aircraft": ("aircraft", "fgvc", AIRCRAFT, write_aircraft, "*.txt"),
    "msmt17": ("msmt17", "reid", {"combine_val": True}, write_msmt17, "*.txt"),
    "veri": ("veri", "reid", {"views": "views.txt"}, _write_veri, "*.txt"),
    "table": (
        "table", "fgvc", {"table": None},
        lambda root: _write_table(root, kind="fgvc", suffix=".csv"), "*.csv",
    ),
    "reid_table": (
        "table", "reid", {"table": None},
        lambda root: _write_table(root, kind="reid", suffix=".csv"), "*.csv",
    ),
    "parquet": (
        "table", "reid", {"table": None},
        lambda root: _write_table(root, kind="reid", suffix=".parquet"), "*.parquet",
    ),
}  # fmt: skip


def write_set(name: str, root: Path) -> tuple[DatasetConfig, str]:
    """Write a set and return its section, and which of its files are damaged."""
    source_type, kind, options, write, pattern = SETS[name]
    write(root)
    dataset = make_dataset(
        source_type=source_type, kind=kind, options=options, val_ratio=0.0, allow_partial=True
    )
    return dataset, pattern


@contextmanager
def limited() -> Iterator[None]:
    """Fail a call that hangs, with the place where it does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still running after {MAX_SECONDS} s: {traceback.format_stack(frame)}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MAX_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def damage(content: bytes, random: np.random.Generator) -> bytes:
    """Cut, flip, insert, repeat, or replace by noise."""
    place = int(random.integers(len(content) + 1))
    kind = random.integers(7)
    if kind == 0:
        return content[:place]
    if kind == 1:
        found = bytearray(content)
        for at in random.integers(len(content), size=int(random.integers(1, 6))):
            found[at] = random.integers(256)
        return bytes(found)
    if kind == 2:
        return content[:place] + random.choice(LIST_PIECES) + content[place:]  # type: ignore[no-any-return, arg-type]
    if kind == 3:
        return content + content
    if kind == 4:
        return content[:place] + content[place + int(random.integers(1, 40)) :]
    if kind == 5:
        length = int(random.integers(1, 9))
        return content[:place] + b"\xff" * length + content[place + length :]
    return random.bytes(int(random.integers(300)))


def check_outcome(dataset: DatasetConfig, root: Path) -> str:
    """Build and check a table; a mistake must be one sentence that was raised in our code."""
    try:
        with limited():
            table = get_source(dataset).build_table(dataset, root)
            check_table(table, kind=dataset.kind)
    except (ValueError, FileNotFoundError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        assert Path(last.filename).is_relative_to(PACKAGE), f"{last}: {error!r}"
        said = str(error)
        assert said and said.isprintable(), repr(error)
        assert len(said) < 2500
        return "refused"
    return "read"


def fuzz(name: str, root: Path, *, rounds: int, seed: int) -> None:
    """Damage each of a set's files so many times."""
    dataset, pattern = write_set(name, root)
    random = np.random.default_rng(seed)
    outcomes = []
    for path in sorted(root.rglob(pattern)):
        content = path.read_bytes()
        for _ in range(rounds):
            path.write_bytes(damage(content, random))
            outcomes.append(check_outcome(dataset, root))
        path.write_bytes(content)
    assert "refused" in outcomes and len(outcomes) >= rounds


@pytest.mark.parametrize("name", SETS)
def test_damaged_lists_give_a_table_or_one_sentence(name: str, tmp_path: Path) -> None:
    rounds = MATLAB_ROUNDS if SETS[name][-1] == "*.mat" else ROUNDS
    fuzz(name, tmp_path / "set", rounds=rounds, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cars", "joint_cars"])
def test_matlab_files_damaged_in_many_ways_never_end_the_process(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path / "set", rounds=20, seed=1)


@pytest.mark.parametrize("name", SETS)
def test_an_empty_file_a_folder_or_nothing_in_the_place_of_a_list(
    name: str, tmp_path: Path
) -> None:
    dataset, pattern = write_set(name, tmp_path / "set")
    for path in sorted((tmp_path / "set").rglob(pattern)):
        content = path.read_bytes()
        path.write_bytes(b"")
        check_outcome(dataset, tmp_path / "set")
        path.unlink()
        check_outcome(dataset, tmp_path / "set")
        path.mkdir()
        check_outcome(dataset, tmp_path / "set")
        path.rmdir()
        path.symlink_to(path.name)  # a loop
        check_outcome(dataset, tmp_path / "set")
        path.unlink()
        path.write_bytes(content)


@pytest.mark.parametrize("name", SETS)
def test_folders_that_are_files_links_that_loop_and_names_that_are_no_text(
    name: str, tmp_path: Path
) -> None:
    dataset, _ = write_set(name, tmp_path / "set")
    folders = [path for path in sorted((tmp_path / "set").rglob("*")) if path.is_dir()][:12]
    for folder in (tmp_path / "set", *folders):
        (folder / "loop").symlink_to(folder)
        with open(bytes(folder) + b"/\xff\xfe.jpg", "wb") as stream:
            stream.write(b"")
    check_outcome(dataset, tmp_path / "set")
    for folder in folders:
        if not folder.is_dir():
            continue
        folder.rename(tmp_path / "kept")
        folder.write_bytes(b"no folder")
        check_outcome(dataset, tmp_path / "set")
        folder.unlink()
        shutil.move(tmp_path / "kept", folder)
