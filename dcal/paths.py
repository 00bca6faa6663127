"""Where things are kept, and how they are written so that nothing is ever half there (ours)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed, on error it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, because writers such as pandas and PIL choose the format by it.
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _give_default_mode(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it takes its place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write readable JSON with a stable key order."""
    with write_atomically(path) as temporary:
        text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


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


def _give_default_mode(path: Path) -> None:
    path.chmod(0o666 & ~_umask())
