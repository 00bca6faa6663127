"""Any bytes as an archive are unpacked or refused, and nothing is written outside the target."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcal.data.archives import ARCHIVE_SUFFIXES, unpack
from tests.damage import damaged, few, many

MAX_BYTES = 1 << 20
NAMES = st.sampled_from(
    ["a", "b/c", "../up", "/abs", "a/../../up", ".", "", "a//b", "x" * 300, "caf\u00e9", "a\nb"]
)
KINDS = st.sampled_from(
    [
        *(tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE),
        *(tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, b"Z"),
    ]
)


@st.composite
def tar_bytes(draw: st.DrawFn) -> bytes:
    stream = io.BytesIO()
    mode = draw(st.sampled_from(["w", "w:gz", "w:bz2", "w:xz"]))
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for _ in range(draw(st.integers(1, 4))):
            info = tarfile.TarInfo(draw(NAMES))
            info.type, info.linkname = draw(KINDS), draw(NAMES)
            content = draw(st.binary(max_size=100))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@st.composite
def zip_bytes(draw: st.DrawFn) -> bytes:
    stream = io.BytesIO()
    compression = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name in names:
            info = zipfile.ZipInfo(name or "empty")
            info.external_attr = draw(st.sampled_from([0, 0o120777, 0o100644, 0o060644])) << 16
            archive.writestr(info, draw(st.binary(max_size=100)))
    return stream.getvalue()


def check(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place, "deep", f"archive{suffix}")
        target = archive.parent / "out"
        target.mkdir(parents=True)
        archive.write_bytes(content)
        try:
            unpack(archive, target, max_bytes=MAX_BYTES)
        except (ValueError, OSError) as error:
            assert str(error).startswith(str(archive)) and "\n" not in str(error)
        outside = [path for path in Path(place).rglob("*") if not path.is_relative_to(target)]
        assert sorted(path.name for path in outside) == [archive.name, "deep"]
        assert not any(path.is_symlink() for path in target.rglob("*"))


SUFFIXES = st.sampled_from(ARCHIVE_SUFFIXES)


@few
@given(damaged(tar_bytes()), SUFFIXES)
def test_any_tar_is_unpacked_inside_its_target_or_refused(content: bytes, suffix: str) -> None:
    check(content, suffix)


@few
@given(damaged(zip_bytes()))
def test_any_zip_is_unpacked_inside_its_target_or_refused(content: bytes) -> None:
    check(content, ".zip")


@few
@given(st.binary(max_size=2000), SUFFIXES)
def test_any_bytes_are_refused_as_an_archive_or_unpacked(content: bytes, suffix: str) -> None:
    check(content, suffix)


@pytest.mark.slow
@many
@given(damaged(st.one_of(tar_bytes(), zip_bytes())), SUFFIXES)
def test_many_archives_are_unpacked_inside_their_target_or_refused(
    content: bytes, suffix: str
) -> None:
    check(content, suffix)
