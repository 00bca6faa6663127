"""Any bytes as a picture file decode to upright RGB, or are reported with the file's name."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcal.data.images import load_image
from tests.damage import damaged, few, many
from tests.project import ROOT

FORMATS = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "F"),
    "GIF": ("L", "P"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "AVIF": ("RGB",),
    "JPEG2000": ("L", "RGB"),
}
KINDS = [(name, mode) for name, modes in FORMATS.items() for mode in modes]


def encode(name: str, mode: str, *, size: tuple[int, int], orientation: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode == "LAB":
        image = Image.frombytes("LAB", size, pixels.tobytes())
    else:
        image = image.convert(mode)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    keywords = {"exif": exif} if name in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    compressed = {"compression": "tiff_lzw"} if name == "TIFF" and mode in ("RGB", "L") else {}
    image.save(stream, format=name, **keywords, **compressed)
    return stream.getvalue()


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    name, mode = draw(st.sampled_from(KINDS))
    size = draw(st.sampled_from([(1, 1), (3, 2), (17, 9)]))
    return encode(name, mode, size=size, orientation=draw(st.integers(1, 8)))


def check(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, f"picture{suffix}")
        path.write_bytes(content)
        try:
            image = load_image(path)
        except OSError as error:
            assert str(error).startswith(f"{path}: cannot be decoded (")
            assert str(error).endswith(")") and "\n" not in str(error)
            return
        assert image.mode == "RGB" and min(image.size) >= 1
        assert np.asarray(image).shape == (image.height, image.width, 3)


SUFFIXES = st.sampled_from([".jpg", ".png", ".tif"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind).replace(";", ""))
def test_every_undamaged_kind_is_read_or_refused_by_name(kind: tuple[str, str]) -> None:
    check(encode(*kind, size=(17, 9), orientation=6), ".jpg")


@few
@given(damaged(pictures()), SUFFIXES)
def test_any_damaged_picture_is_read_or_reported(content: bytes, suffix: str) -> None:
    check(content, suffix)


@few
@given(st.binary(max_size=1000), SUFFIXES)
def test_any_bytes_are_read_or_reported(content: bytes, suffix: str) -> None:
    check(content, suffix)


@pytest.mark.slow
@many
@given(damaged(pictures()), SUFFIXES)
def test_many_damaged_pictures_are_read_or_reported(content: bytes, suffix: str) -> None:
    check(content, suffix)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def bmp_header(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + header + bytes(100)


def tiff_header(width: int, height: int) -> bytes:
    entries = [
        *((256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)),
        *((273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, 100)),
    ]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(104)


@pytest.mark.parametrize("make", [png_header, bmp_header, tiff_header])
def test_a_header_that_promises_ten_thousand_million_pixels_takes_no_memory(
    make: object, tmp_path: Path
) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(make(100_000, 100_000))
    code = """
import resource, sys
from dcal.data.images import load_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_image(sys.argv[1])
except OSError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    sentence, kilobytes = done.stdout.splitlines()
    assert "more than 178956970 pixels" in sentence
    assert int(kilobytes) < 50_000
