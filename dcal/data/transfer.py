"""One exchange with a server, whose bytes go into a part of the file (ours).

Nothing that a server says is trusted: what it announces decides only whether its bytes are taken at
all, and where they go. Whether they are right is for the caller's checksum to say.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import chain
from time import monotonic
from urllib.parse import urljoin, urlsplit

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from dcal.data.part_file import PartFile
from dcal.sentences import to_one_line

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
CONNECT_SECONDS = 20.0
READ_SECONDS = 30.0
# Slower than this over such a time is as good as silent: a gigabyte would take three days.
MIN_BYTES_PER_SECOND = 4_000
SPEED_SECONDS = 60.0
MAX_REDIRECTS = 10
_TEMPORARY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
)
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_PAGE_STARTS = (b"<!doctype html", b"<html")


class TransferError(Exception):
    """What was wrong with one exchange: words to follow an address, and what they mean for it."""

    def __init__(
        self,
        words: str,
        *,
        is_final: bool = False,
        is_slow: bool = False,
        refuses_range: bool = False,
        wait_seconds: float = 0.0,
    ) -> None:
        super().__init__(words)
        self.is_final = is_final  # asking again brings the same
        self.is_slow = is_slow  # it brought bytes, but too few to go on like this
        self.refuses_range = refuses_range  # ask for the whole file next time
        self.wait_seconds = wait_seconds  # what the server asks for


def transfer(
    url: str, part: PartFile, *, name: str, num_bytes: int | None, use_range: bool
) -> bool:
    """Ask an address for what `part` lacks, and write it there as it comes.

    Args:
        url: The address; redirects are followed, but not from https down to http.
        part: What came before. Where the server sends the whole file, it is written over.
        name: The file's name, for the progress bar.
        num_bytes: The file's size; None = not known, so that what the server announces counts.
        use_range: Whether to ask for the rest only.

    Returns:
        Whether all bytes are of this exchange and as many as were expected, so that it alone is to
        blame if they are wrong.

    Raises:
        TransferError: Not all bytes came; those that did are in `part`.
        OSError: Not enough room.
        WriteError: The disk is full.
    """
    start = part.num_bytes if use_range else 0
    with _ask(url, start=start) as response:
        begin, announced = _locate_body(response, start=start)
        blocks = _read_blocks(response)
        first = next(blocks, b"")
        if _is_page(response, first, is_beginning=begin == 0):
            raise TransferError("a web page came in place of the file", is_final=True)
        if num_bytes is not None and announced not in (None, num_bytes):
            raise TransferError(f"announces {announced} bytes, expected are {num_bytes}")
        expected = announced if num_bytes is None else num_bytes
        if expected is not None:
            part.require_room(expected)
        if begin < start:
            logger.info("%s: sends all of the file again, not only what is missing", url)
        with _show_bar(name, total=expected) as show:
            _write_blocks(chain([first], blocks), part, begin=begin, end=expected, show=show)
    return begin == 0 and expected is not None


def _write_blocks(
    blocks: Iterator[bytes],
    part: PartFile,
    *,
    begin: int,
    end: int | None,
    show: Callable[[int], None],
) -> None:
    position = begin
    for block in blocks:
        # What comes after the end is not the file's.
        wanted = block if end is None else block[: end - position]
        part.write(wanted, at=position)
        position += len(wanted)
        show(position)
        if position == end:
            break
    if end is not None and position < end:
        raise TransferError(f"the connection ended after {position} of {end} bytes")
    # More than that can be there where a whole file was written over a part.
    part.cut(position)


@contextmanager
def _ask(url: str, *, start: int) -> Iterator[requests.Response]:
    """Give the answer of the last address that redirects lead to, which says 200 or 206."""
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.Session() as session:
        for _ in range(MAX_REDIRECTS + 1):
            with _get(session, url, headers) as response:
                target = session.get_redirect_target(response)
                if target is None:
                    _require_content(response, is_of_range=start > 0)
                    yield response
                    return
                url = _resolve_redirect(url, target)
    raise TransferError(f"sends on more than {MAX_REDIRECTS} times", is_final=True)


def _get(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    surroundings = sys.exception()
    try:
        # Redirects are not followed by requests itself, which would go from https down to http.
        return session.get(
            url, headers=headers, stream=True, allow_redirects=False, timeout=timeout
        )
    # requests lets out some of what urllib3 says of an address that is none.
    except (OSError, ValueError) as error:
        reason = _find_reason(error, surroundings)
        is_final = isinstance(error, ValueError)
        raise TransferError(f"no connection ({reason})", is_final=is_final) from error


def _resolve_redirect(url: str, target: str) -> str:
    try:
        resolved = urljoin(url, target)
        scheme = urlsplit(resolved).scheme
    except ValueError as error:
        raise TransferError("sends on to what is no address", is_final=True) from error
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise TransferError(f"sends on from https down to {scheme}", is_final=True)
    return resolved


def _require_content(response: requests.Response, *, is_of_range: bool) -> None:
    code = response.status_code
    if code in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return
    phrase = f" ({HTTPStatus(code).phrase})" if code in list(HTTPStatus) else ""
    is_temporary = code >= 500 or code in _TEMPORARY
    raise TransferError(
        f"answers {code}{phrase}",
        # It may only be the range that is refused, in whatever words.
        is_final=not is_temporary and not is_of_range,
        refuses_range=not is_temporary and is_of_range,
        wait_seconds=_read_retry_after(response),
    )


def _read_retry_after(response: requests.Response) -> float:
    """Return the seconds that a server asks to wait, given as such or as a date; 0 = none."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


def _locate_body(response: requests.Response, *, start: int) -> tuple[int, int | None]:
    """Return the place of the first byte that comes, and the size of the whole file if it is said.

    Raises:
        TransferError: It is another place than was asked for.
    """
    if response.status_code == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if _is_number(length) else None
    said = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"\s*bytes\s+([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)\s*", said)
    if found is None or int(found[1]) != start:
        raise TransferError("sends another part of the file than asked for", refuses_range=True)
    return start, None if found[2] == "*" else int(found[2])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def _is_page(response: requests.Response, first: bytes, *, is_beginning: bool) -> bool:
    """Say whether what comes is for a browser: an error, a notice, a form to sign in."""
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if is_beginning and text.startswith(_PAGE_STARTS):
        return True
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    # Some servers call every file a page; bytes that no text has tell an archive.
    return kind in _PAGE_TYPES and min(first[:512], default=0) >= ord("\t")


def _read_blocks(response: requests.Response) -> Iterator[bytes]:
    """Yield the bytes as they were sent, whenever some came; nothing is decoded.

    Raises:
        TransferError: The connection broke, or it is silent or too slow.
    """
    began, num_bytes = monotonic(), 0
    while True:
        surroundings = sys.exception()
        try:
            # `read` and `stream` would wait until a block is full, however slowly it fills.
            block = response.raw.read1(BLOCK_BYTES, decode_content=False)
        # Of urllib3 and of http.client, which have no ancestor of their own in common.
        except Exception as error:
            reason = _find_reason(error, surroundings)
            raise TransferError(f"the connection broke ({reason})") from error
        if not block:
            return
        yield block
        num_bytes += len(block)
        seconds = monotonic() - began
        if seconds >= SPEED_SECONDS:
            if num_bytes < MIN_BYTES_PER_SECOND * seconds:
                raise TransferError(f"only {num_bytes} bytes came in {seconds:.0f} s", is_slow=True)
            began, num_bytes = monotonic(), 0


def _find_reason(error: BaseException, surroundings: BaseException | None) -> str:
    """Return what the network said, which lies below several layers of libraries.

    Args:
        error: What the uppermost one raised.
        surroundings: What a caller was handling before, and has nothing to do with it.
    """
    deepest = error
    while (below := deepest.__cause__ or deepest.__context__) not in (None, surroundings):
        deepest = below
    if isinstance(deepest, TimeoutError):
        return "nothing came in time"
    said = deepest.strerror if isinstance(deepest, OSError) else None
    return to_one_line(said or str(deepest) or type(deepest).__name__)


@contextmanager
def _show_bar(name: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield what to call with the bytes that are there; nothing is shown but in a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Gone at the end: what is said between two attempts would break its line.
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(name, total=total)
        yield lambda num_bytes: progress.update(task, completed=num_bytes)
