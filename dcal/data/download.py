"""Files from official addresses, whole and verified, over a bad network too (ours).

Bytes are kept in a part beside the file whatever happens: a dropped connection, another address, a
killed process. The next attempt asks for the rest only, and the checksum decides.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from time import sleep

from rich.filesize import decimal

from dcal.data.part_file import PartFile, explain_failed_write, open_part
from dcal.data.remote_file import Download, find_difference, verify
from dcal.data.transfer import TransferError, transfer
from dcal.write_errors import explain

logger = logging.getLogger(__name__)

# Of one address, without progress in between; waits double from the first to the longest.
MAX_FAILURES = 5
FIRST_WAIT_SECONDS = 1.0
MAX_WAIT_SECONDS = 60.0
# Fewer bytes than this are no progress: a server could bring one of them with every attempt.
MIN_PROGRESS_BYTES = 1 << 14


def download(item: Download, folder: Path) -> Path:
    """Bring a file to `folder`, unless it is there already and verified; return its path.

    A file of that name with other bytes is kept as `<name>.wrong`. What an earlier call left as
    `.<name>.part` is gone on from, and so is what this one leaves.

    Raises:
        ConnectionError: No address gave the file; what each said is in the message.
        OSError: Another process downloads it too, there is no room for it, or a disk failed.
    """
    path = folder / item.file_name
    if verify(item, path):
        return path
    with open_part(path) as part:
        # Looked at again: another process may have been at it until now.
        difference = find_difference(item, path)
        if difference is None:
            return path
        _set_aside(path, difference)
        _fill(part, item)
        part.put_in_place()
    logger.info("%s: downloaded and verified", path)
    return path


def _set_aside(path: Path, difference: str) -> None:
    """Rename a file that is not the expected one: it may be the only one of its kind."""
    if not path.exists():
        return
    if path.is_dir():
        raise explain(errno.EISDIR, path)
    number, aside = 1, path.with_name(f"{path.name}.wrong")
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.wrong-{number}")
    with explain_failed_write(aside):
        os.rename(path, aside)
    logger.warning("%s: not the official file (%s); kept as %s", path, difference, aside.name)


def _fill(part: PartFile, item: Download) -> None:
    if _is_filled(part, item):
        return
    if item.num_bytes is not None:
        if part.num_bytes >= item.num_bytes:
            logger.warning("%s: its bytes are wrong; starting over", part.path)
            part.cut(0)
        part.require_room(item.num_bytes)
    said = []
    for url in item.urls:
        here = f", {decimal(part.num_bytes)} are here already" if part.num_bytes else ""
        size = "size not known" if item.num_bytes is None else decimal(item.num_bytes)
        logger.info("%s: downloading from %s (%s%s)", item.file_name, url, size, here)
        try:
            _fill_from(url, part, item)
            return
        except TransferError as error:
            said.append(f"{url}: {error}")
            logger.warning("%s: %s; not asked again now", url, error)
    kept = f"{decimal(part.num_bytes)} of it stay, to go on from. " if part.num_bytes else ""
    raise ConnectionError(
        f"{item.file_name} could not be downloaded ({'; '.join(said) or 'no address is known'}). "
        f"{kept}Run the command again later, or get {item.file_name} by other means and set "
        "dataset.source to it"
    )


def _is_filled(part: PartFile, item: Download) -> bool:
    if part.num_bytes < (1 if item.num_bytes is None else item.num_bytes):
        return False
    return verify(item, part.path)


def _fill_from(url: str, part: PartFile, item: Download) -> None:
    """Try one address until it has brought the file, or is not worth another attempt.

    Raises:
        TransferError: What it said last.
    """
    patience = _Patience(part.num_bytes)
    use_range = may_start_over = True
    while True:
        try:
            is_whole = transfer(
                url, part, name=item.file_name, num_bytes=item.num_bytes, use_range=use_range
            )
        except TransferError as error:
            # Asked for what comes after the end, a server of a file of unknown size refuses.
            if error.refuses_range and _is_filled(part, item):
                return
            use_range = use_range and not error.refuses_range
            seconds = patience.count(error, part.num_bytes)
            logger.warning("%s: %s; trying again in %.0f s", url, error, seconds)
            sleep(seconds)
            continue
        if verify(item, part.path):
            return
        part.cut(0)
        wrong = f"what came is not the file (its {item.algorithm} differs from {item.digest})"
        if is_whole or not may_start_over:
            raise TransferError(wrong, is_final=True)
        logger.warning("%s: %s; it was of several attempts, so starting over", url, wrong)
        # From nothing: what is reached again counts as progress again, this once.
        may_start_over, use_range, patience = False, True, _Patience(0)


class _Patience:
    """How often an address may fail: what went before some progress is forgiven."""

    def __init__(self, num_bytes: int) -> None:
        self._num_failures = 0
        self._reached = num_bytes

    def count(self, error: TransferError, num_bytes: int) -> float:
        """Count a failure that left so many bytes there, and return the seconds to wait.

        Raises:
            TransferError: The one that is given, where it was one too many.
        """
        if error.is_slow:
            self._reached = max(self._reached, num_bytes)
        elif num_bytes - self._reached >= MIN_PROGRESS_BYTES:
            self._num_failures, self._reached = 0, num_bytes
        self._num_failures += 1
        if error.is_final or self._num_failures >= MAX_FAILURES:
            raise error
        backoff_seconds = FIRST_WAIT_SECONDS * 2 ** (self._num_failures - 1)
        return min(max(backoff_seconds, error.wait_seconds), MAX_WAIT_SECONDS)
