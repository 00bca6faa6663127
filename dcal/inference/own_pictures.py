"""Pictures of the user's own: listed, and read in batches while the model works (ours)."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from dcal.data.images import PICTURE_SUFFIXES, is_picture
from dcal.data.transforms import Transform

logger = logging.getLogger(__name__)

_HIDDEN_PREFIXES = (".", "__MACOSX")
_MAX_NAMED = 20
MAX_STRETCH = 3.0  # of a picture's shape; 16:9 into a square is 1.8


class _Loaded(NamedTuple):
    image: Tensor  # as the model takes it
    size: tuple[int, int]  # (width, height) of the file
    stretch: float  # how many times, at least 1, resizing makes it wider or narrower


def list_pictures(folder: str | Path, *, unnamed: list[str] | None = None) -> pd.DataFrame:
    """List the pictures below a folder.

    Hidden files, files with other suffixes, and links to folders are left out and counted in a
    warning.

    Args:
        folder: Where to look.
        unnamed: Where it is given, a picture whose name is not UTF-8, which no table can hold, is
            left out and noted here in a sentence.

    Returns:
        One row a picture, sorted: path (relative to the folder), num_bytes, modified_ns.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No picture in it, or a file name that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of pictures; there is none")
    ignored: Counter[str] = Counter()
    rows = []
    for parent, folders, names in os.walk(folder):
        ignored["links to folders"] += sum(Path(parent, name).is_symlink() for name in folders)
        folders[:] = [name for name in folders if not name.startswith(_HIDDEN_PREFIXES)]
        for name in names:
            path = Path(parent, name)
            if is_picture(path):
                if not _is_noted(path.relative_to(folder), unnamed):
                    rows.append(_describe(path, folder))
            else:
                ignored["hidden files" if name.startswith(".") else "other suffixes"] += 1
    told = ", ".join(f"{why}: {count}" for why, count in sorted(ignored.items()) if count)
    if not rows and not unnamed:
        found = f"found only {told}" if told else "it is empty"
        raise ValueError(
            f"{folder}: expected at least one picture ({', '.join(PICTURE_SUFFIXES)}); {found}"
        )
    if told:
        logger.warning("%s: left out: %s", folder, told)
    columns = ["path", "num_bytes", "modified_ns"]
    return pd.DataFrame(rows, columns=columns).sort_values("path", ignore_index=True)


def find_pictures(places: Sequence[str | Path], *, unnamed: list[str] | None = None) -> list[Path]:
    """Return the pictures that are named, those of folders and those that patterns match, once.

    A file that is named counts as a picture whatever its name is, and one that is not there too:
    the caller says so. A pattern such as `photos/**/*.jpg` takes the pictures among its matches.

    Args:
        places: Files, folders and patterns.
        unnamed: See `list_pictures`.

    Raises:
        ValueError: Nothing is named, a folder has no picture, no picture matches a pattern, or a
            file name is not UTF-8.
    """
    if not places:
        raise ValueError("expected at least one picture, folder or pattern; got none")
    found: list[Path] = []
    for place in places:
        path = Path(place)
        if path.is_dir():
            found += [path / name for name in list_pictures(path, unnamed=unnamed)["path"]]
        elif glob.has_magic(str(place)) and not os.path.lexists(path):
            found += _match_pictures(str(place))
        else:
            found.append(path)
    return [path for path in dict.fromkeys(found) if not _is_noted(path, unnamed)]


def _match_pictures(pattern: str) -> list[Path]:
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    pictures = [path for path in matches if is_picture(path)]
    if not pictures:
        found = f"of {len(matches)} matches none is one" if matches else "nothing matches"
        raise ValueError(
            f"{pattern}: expected a pattern of pictures ({', '.join(PICTURE_SUFFIXES)}); {found}"
        )
    num_others = sum(path.is_file() for path in matches) - len(pictures)
    if num_others:
        logger.warning("%s: left out: other suffixes or hidden: %d", pattern, num_others)
    return pictures


def require_decodable(
    errors: pd.Series, num_pictures: int, *, what: str, allow_partial: bool
) -> None:
    """Refuse pictures that cannot be decoded, or say which are left out.

    Args:
        errors: One sentence for each of them, of `measure_pictures`.
        num_pictures: How many there are in all.
        what: Where they come from; the message starts with it.
        allow_partial: They are left out.

    Raises:
        ValueError: There are some, and they may not be left out.
    """
    if errors.empty:
        return
    shown = "; ".join(errors.tolist()[:_MAX_NAMED])
    more = f"; and {len(errors) - _MAX_NAMED} more" if len(errors) > _MAX_NAMED else ""
    counted = f"{len(errors)} of {num_pictures} pictures cannot be used"
    if not allow_partial:
        raise ValueError(
            f"{what}: {counted}; remove or replace them, or leave them out with --allow-partial: "
            f"{shown}{more}"
        )
    logger.warning("%s: %s and are left out: %s%s", what, counted, shown, more)


def read_batches(
    paths: Sequence[Path],
    transform: Transform,
    *,
    batch_size: int,
    problems: dict[int, str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield batches of `image` and `row`, the position among `paths`; nothing is dropped.

    The next batch is decoded while the caller works on this one. Pictures whose shape resizing
    changes more than threefold, such as panoramas, are named in a warning at the end.

    Args:
        paths: The pictures.
        transform: Makes one ready for the model.
        batch_size: Pictures at once.
        problems: Where it is given, a picture that cannot be read is left out of its batch, and
            noted here: its position and one sentence.

    Raises:
        FileNotFoundError, OSError: A picture is gone, or cannot be decoded.
    """
    starts = range(0, len(paths), batch_size)
    # Threads are enough: Pillow lets go of the interpreter while it works.
    with ThreadPoolExecutor() as pool:

        def submit(start: int) -> list[Future[_Loaded]]:
            batch = paths[start : start + batch_size]
            return [pool.submit(_load, path, transform) for path in batch]

        squeezed: list[str] = []
        following = submit(0)
        for start in starts:
            batch, following = following, submit(start + batch_size)
            loaded = _collect(batch, start, problems)
            squeezed += [
                f"{paths[row]} ({one.size[0]} x {one.size[1]})"
                for row, one in loaded.items()
                if one.stretch > MAX_STRETCH
            ]
            if loaded:
                stacked = torch.stack([one.image for one in loaded.values()])
                yield {"image": stacked, "row": torch.tensor(list(loaded))}
        _warn_of_squeezed(squeezed, transform)


def _warn_of_squeezed(squeezed: Sequence[str], transform: Transform) -> None:
    if not squeezed:
        return
    height, width = transform.resize
    more = f" and {len(squeezed) - _MAX_NAMED} more" if len(squeezed) > _MAX_NAMED else ""
    logger.warning(
        "squeezed more than threefold to %d x %d, the model's shape, so that what it says of them "
        "means little (crop them first): %s%s",
        width,
        height,
        ", ".join(squeezed[:_MAX_NAMED]),
        more,
    )


def _collect(
    batch: Sequence[Future[_Loaded]], start: int, problems: dict[int, str] | None
) -> dict[int, _Loaded]:
    images: dict[int, _Loaded] = {}
    for row, future in enumerate(batch, start):
        try:
            images[row] = future.result()
        except OSError as error:
            if problems is None:
                raise
            problems[row] = str(error)
    return images


def _load(path: Path, transform: Transform) -> _Loaded:
    image = transform.load(path)
    width, height = image.size
    change = width / height * transform.resize[0] / transform.resize[1]
    return _Loaded(transform(image), (width, height), max(change, 1 / change))


def _describe(path: Path, folder: Path) -> tuple[str, int, int]:
    name = path.relative_to(folder).as_posix()
    # A link that leads nowhere is told of when it is read, as any picture that cannot be.
    status = path.stat() if path.exists() else path.lstat()
    return name, status.st_size, status.st_mtime_ns


def _is_noted(path: Path, unnamed: list[str] | None) -> bool:
    """Note a name that is not UTF-8, and say whether it is one."""
    name = path.as_posix()
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "backslashreplace").decode()
        sentence = f"{shown}: the file name is not UTF-8; rename the file"
        if unnamed is None:
            raise ValueError(sentence) from None
        unnamed.append(sentence)
        return True
    return False
