"""A file at an official address, and whether a file here is that one (ours)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dcal.paths import compute_file_digest


@dataclass(frozen=True)
class Download:
    """A file at an official address, with what it must be.

    Raises:
        ValueError: The checksum is not of the form that is described below.
    """

    file_name: str
    urls: tuple[str, ...]  # the official address first, then mirrors in order
    checksum: str  # "sha256:<hex>" or "md5:<hex>", the strongest that is known
    num_bytes: int | None  # None = not known exactly

    def __post_init__(self) -> None:
        """Refuse a checksum that no file could have."""
        if not re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", self.checksum):
            raise ValueError(
                f"{self.file_name}: expected a checksum sha256:<64 digits> or md5:<32 digits> in "
                f"lower case; got {self.checksum!r}"
            )

    @property
    def algorithm(self) -> str:
        """Return the checksum's kind, as hashlib calls it."""
        return self.checksum.partition(":")[0]

    @property
    def digest(self) -> str:
        """Return the checksum's hexadecimal digits."""
        return self.checksum.partition(":")[2]


def verify(item: Download, path: Path) -> bool:
    """Say whether `path` is a file of the size, where that is known, and the checksum of `item`."""
    return find_difference(item, path) is None


def find_difference(item: Download, path: Path) -> str | None:
    """Say what tells a file from the official one; None = nothing."""
    if not path.is_file():
        return "it is not there"
    num_bytes = path.stat().st_size
    if item.num_bytes not in (None, num_bytes):
        return f"it has {num_bytes} bytes, expected are {item.num_bytes}"
    if compute_file_digest(path, algorithm=item.algorithm) != item.digest:
        return f"its {item.algorithm} differs from {item.digest}"
    return None
