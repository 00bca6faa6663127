"""Bytes cut, flipped and spliced: how files arrive when a disk or a download failed."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# No deadline: a busy machine is no mistake. The fast suite draws the same examples every time.
few = settings(max_examples=300, deadline=None, derandomize=True)
many = settings(max_examples=4000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Draw some content with up to four kinds of damage, or none."""
    content = draw(contents)
    for _ in range(draw(st.integers(0, 4))):
        content = draw(st.sampled_from([_cut, _flip, _overwrite, _splice, _repeat]))(draw, content)
    return content


def _place(draw: st.DrawFn, content: bytes) -> int:
    # Headers are where damage matters most.
    return draw(st.one_of(st.integers(0, min(len(content), 64)), st.integers(0, len(content))))


def _cut(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: _place(draw, content)]


def _flip(draw: st.DrawFn, content: bytes) -> bytes:
    if not content:
        return content
    place = min(_place(draw, content), len(content) - 1)
    flipped = content[place] ^ (1 << draw(st.integers(0, 7)))
    return content[:place] + bytes([flipped]) + content[place + 1 :]


def _overwrite(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    extreme = st.sampled_from([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\x80\x00"])
    new = draw(st.one_of(extreme, st.binary(min_size=1, max_size=8)))
    return content[:place] + new + content[place + len(new) :]


def _splice(draw: st.DrawFn, content: bytes) -> bytes:
    place = _place(draw, content)
    return content[:place] + draw(st.binary(max_size=16)) + content[place:]


def _repeat(draw: st.DrawFn, content: bytes) -> bytes:
    place, end = sorted((_place(draw, content), _place(draw, content)))
    return content[:end] + content[place:]
