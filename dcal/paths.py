"""Where things are kept, and how they are written so that nothing is ever half there (ours)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dcal.disk import bring_back, exchange, parts_beside, sync, sync_folder, sync_tree


def work_root() -> Path:
    """Return the folder that databases and checkpoints belong to, whatever the current directory.

    `$DCAL_WORK_ROOT`, else `$DVC_ROOT` (inside a temporary experiment DVC points it at the parent
    repository), else the git top level, else the current directory.
    """
    for variable in ("DCAL_WORK_ROOT", "DVC_ROOT"):
        value = os.environ.get(variable)
        if value:
            return Path(value).resolve()
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return Path.cwd()
    return Path(found.stdout.strip())


def raw_folder(dataset_name: str) -> Path:
    """Return the folder of a data set's pictures as fetched, relative to the stage's directory."""
    return Path("data/raw") / dataset_name


def index_folder(dataset_name: str) -> Path:
    """Return the folder of a data set's index, relative to the stage's directory."""
    return Path("data/index") / dataset_name


def cached_root() -> Path:
    """Return the folder of resized pictures, a folder a data set, in the work root.

    In a temporary experiment of DVC those of the parent repository are used.
    """
    return work_root() / "data" / "cached"


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed, on error it is removed.

    After a power cut `path` holds its old content or the new one.

    Raises:
        WriteError: The disk is full, or the place may not be written to.
    """
    with write_together(path) as (temporary,):
        yield temporary


@contextmanager
def write_together(*paths: str | Path) -> Iterator[list[Path]]:
    """Yield a temporary path for each of `paths`, which lie in one folder.

    None is renamed before all are on the disk. The last one is removed before and comes last:
    who finds it finds those that belong to it.

    Raises:
        WriteError: The disk is full, or the place may not be written to.
    """
    targets = [Path(path) for path in paths]
    with parts_beside(targets[0]) as parts:
        # The suffix stays, because writers such as pandas and PIL choose the format by it.
        temporaries = [parts.make_file(suffix=target.suffix) for target in targets]
        yield temporaries
        for temporary in temporaries:
            temporary.chmod(0o666 & ~_umask())
            sync(temporary)
        if len(targets) > 1:
            targets[-1].unlink(missing_ok=True)
        for temporary, target in zip(temporaries, targets, strict=True):
            os.replace(temporary, target)
        sync_folder(targets[0].parent)


@contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it takes its place.

    The old folder is renamed, and removed only when the new one is there. A process that is killed
    between the two leaves it as `.previous-<name>`, and the next call brings it back.

    Raises:
        WriteError: The disk is full, or the place may not be written to.
    """
    path = Path(path)
    with parts_beside(path) as parts:
        bring_back(path)
        temporary = parts.make_folder()
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        sync_tree(temporary)
        exchange(temporary, path)


def write_json(path: str | Path, content: Any) -> None:
    """Write readable JSON with a stable key order."""
    with write_atomically(path) as temporary:
        temporary.write_text(render_json(content), encoding="utf-8")


def render_json(content: Any) -> str:
    """Return the text that `write_json` writes."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def compute_file_digest(path: str | Path, *, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def compute_fingerprint(params: Mapping[str, Any], *, data_digest: str, code_digest: str) -> str:
    """Return twelve digits that change with the parameters read, the data or the code."""
    content = {"params": params, "data": data_digest, "code": code_digest}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def compute_code_digest(places: list[Path]) -> str:
    """Return a digest over Python files, by relative name and bytes: those given, those below."""
    digest = hashlib.sha256()
    for place in sorted(places):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{place.name}/{path.relative_to(place)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _umask() -> int:
    # The only way to read it is to set it.
    value = os.umask(0)
    os.umask(value)
    return value
