"""Placeholder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcal.paths import compute_file_digest


@dataclass(frozen=True)
class Download:
    """A file at an official address, with what it must be."""

    file_name: str
    urls: tuple[str, ...]
    checksum: str
    num_bytes: int | None


def download(item: Download, folder: Path) -> Path:
    """Placeholder."""
    return folder / item.file_name


def verify(item: Download, path: Path) -> bool:
    """Say whether a file has the size and checksum."""
    if item.num_bytes is not None and path.stat().st_size != item.num_bytes:
        return False
    algorithm, _, expected = item.checksum.partition(":")
    return compute_file_digest(path, algorithm=algorithm) == expected
