"""Every picture of a table, looked at once: its size and digest, or what is wrong (ours)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from PIL import Image

from dcal.data.images import load_image, read_size
from dcal.paths import compute_file_digest


class _Measure(NamedTuple):
    width: int
    height: int
    sha256: str
    error: str


def measure_pictures(
    table: pd.DataFrame,
    root: Path,
    *,
    verify: Literal["pixels", "headers"],
    on_picture: Callable[[int, int], None] | None,
) -> tuple[pd.DataFrame, pd.Series]:
    """Add width, height and sha256 to the rows whose picture can be used.

    By its pixels, which are decoded, or by its header; either way all bytes are read for sha256.
    `on_picture` is called with (done, total) as it goes.

    Returns:
        Those rows, and for each of the others one sentence on what is wrong, by the same index.
    """
    rows = table.to_dict("records")
    measures: list[_Measure] = []
    # Threads are enough: Pillow and hashlib let go of the interpreter while they work.
    with ThreadPoolExecutor() as pool:
        for measure in pool.map(lambda row: _measure(row, root, verify), rows):
            measures.append(measure)
            if on_picture is not None:
                on_picture(len(measures), len(rows))
    found = pd.DataFrame(measures, columns=_Measure._fields, index=table.index)
    is_usable = found["error"] == ""
    measured = pd.concat([table, found.drop(columns="error")], axis="columns")
    return measured[is_usable].copy(), found.loc[~is_usable, "error"]


def _measure(
    row: Mapping[Hashable, Any], root: Path, verify: Literal["pixels", "headers"]
) -> _Measure:
    path, cut_bottom = root / row["path"], int(row.get("cut_bottom", 0))
    try:
        # To open a pipe would wait for ever.
        if path.exists() and not path.is_file():
            raise OSError(f"{path}: cannot be decoded (it is no ordinary file)")
        height, width = (
            load_image(path, cut_bottom=cut_bottom).size[::-1]
            if verify == "pixels"
            else read_size(path, cut_bottom=cut_bottom)
        )
        mask = row.get("mask")
        if isinstance(mask, str):
            with Image.open(root / mask) as opened:
                if opened.size != (width, height):
                    raise OSError(f"{root / mask}: expected the picture's size, got {opened.size}")
        return _Measure(width, height, compute_file_digest(path), error="")
    except OSError as error:
        return _Measure(0, 0, "", error=str(error))
