"""Every common kind of picture becomes upright 8-bit RGB."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcal.data.images import is_picture, load_image, read_size

GRID = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def _pixels(path: Path) -> np.ndarray:
    image = load_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_grey_is_repeated_over_the_channels(tmp_path: Path) -> None:
    Image.fromarray(GRID).save(tmp_path / "a.png")
    assert np.array_equal(_pixels(tmp_path / "a.png"), np.stack([GRID] * 3, axis=-1))


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path: Path) -> None:
    Image.fromarray(GRID.astype(np.uint16) * 256 + 99).save(tmp_path / "a.png")
    assert np.array_equal(_pixels(tmp_path / "a.png")[..., 0], GRID)


def test_palette_shows_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png")
    assert _pixels(tmp_path / "a.png").tolist() == [[[10, 20, 30], [200, 100, 50]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    if mode == "P":
        grey = Image.fromarray(np.array([[1, 0]], dtype=np.uint8)).convert("P")
        grey.putpalette([0, 0, 0, 0, 0, 0])
        grey.save(tmp_path / "a.png", transparency=1)
    else:
        image.convert(mode).save(tmp_path / "a.png")
    assert _pixels(tmp_path / "a.png").tolist() == [[[255] * 3, [0] * 3]]


def test_half_transparency_is_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert _pixels(tmp_path / "a.png").tolist() == [[[204, 204, 204]]]


def test_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = _pixels(tmp_path / "a.jpg")[4, 4]
    assert red > 250 and green < 5 and blue < 5


def test_orientation_of_a_phone_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(GRID)
    exif = image.getexif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(_pixels(tmp_path / "a.png")[..., 0], np.rot90(GRID, k=-1))


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("L", (2, 2), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert _pixels(tmp_path / "a.webp")[0, 0, 0] == 10


def test_thirty_two_bits_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(GRID.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(OSError, match=r"a\.tif: cannot be decoded \(32 bits a channel"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_cut_file_is_an_error_not_a_grey_half(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(OSError, match=r"a\.\w+: cannot be decoded"):
        load_image(path)


def test_no_picture_and_no_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>")
    with pytest.raises(OSError, match="cannot be decoded"):
        load_image(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "b.jpg")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GRID).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(OSError, match="cannot be decoded"):
        load_image(tmp_path / "a.png")


def _write_with_cut_exif(path: Path) -> None:
    image = Image.new("RGB", (4, 4))
    exif = image.getexif()
    exif[0x010E] = "a description that is longer than what is left of it"
    content = exif.tobytes()[:-20]
    image.save(path, exif=content)


def test_pillows_warnings_on_metadata_do_not_stray_from_any_thread(tmp_path: Path) -> None:
    _write_with_cut_exif(tmp_path / "a.jpg")
    with (
        pytest.warns(UserWarning, match="Truncated File Read"),
        Image.open(tmp_path / "a.jpg") as image,
    ):
        image.getexif()
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(load_image, [tmp_path / "a.jpg"] * 100))
    assert {image.size for image in images} == {(4, 4)}
    assert warnings.filters == before


def test_a_drawing_program_named_jpg_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(OSError, match="it is not a picture of a known kind"):
        load_image(tmp_path / "a.jpg")


def test_pictures_are_known_by_suffix_in_any_case() -> None:
    names = ["a.JPG", "b.jpeg", "c.Png", ".d.jpg", "._e.jpg", "Thumbs.db", "f.jpg.txt", "g"]
    assert [name for name in names if is_picture(Path(name))] == ["a.JPG", "b.jpeg", "c.Png"]


def _write_photograph(path: Path, *, size: tuple[int, int], orientation: int | None = None) -> None:
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], -1)
    image = Image.fromarray(pixels.astype(np.uint8))
    exif = image.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, quality=90, exif=exif)


@pytest.mark.parametrize(
    ("at_least", "scale"),
    [((30, 20), 8), ((31, 20), 4), ((30, 27), 4), ((61, 50), 2), ((121, 1), 1), ((1, 106), 1)],
)
def test_a_jpeg_is_reduced_as_far_as_both_sides_allow(
    tmp_path: Path, at_least: tuple[int, int], scale: int
) -> None:
    _write_photograph(tmp_path / "a.jpg", size=(240, 211))
    height, width = -(-240 // scale), -(-211 // scale)
    image = load_image(tmp_path / "a.jpg", at_least=at_least)
    assert (image.mode, image.size) == ("RGB", (width, height))


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_a_side_is_that_of_the_upright_picture(tmp_path: Path, orientation: int | None) -> None:
    _write_photograph(tmp_path / "a.jpg", size=(240, 64), orientation=orientation)
    whole = load_image(tmp_path / "a.jpg")
    width, height = whole.size
    reduced = load_image(tmp_path / "a.jpg", at_least=(height // 2, width // 2))
    assert reduced.size == (width // 2, height // 2)
    smaller = np.asarray(whole.resize(reduced.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(reduced).astype(int)[..., :2] - smaller[..., :2]).mean() < 8


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp"])
def test_what_cannot_be_reduced_is_decoded_bit_for_bit(tmp_path: Path, name: str) -> None:
    _write_photograph(tmp_path / name, size=(99, 120))
    # Half of 99 rows would be one too few; other kinds are never reduced.
    at_least = (50, 60) if name == "a.jpg" else (1, 1)
    reduced = load_image(tmp_path / name, at_least=at_least)
    assert np.array_equal(np.asarray(reduced), _pixels(tmp_path / name))


def test_a_cut_jpeg_is_an_error_at_any_scale(tmp_path: Path) -> None:
    _write_photograph(tmp_path / "a.jpg", size=(240, 240))
    path = tmp_path / "a.jpg"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(OSError, match="cannot be decoded"):
        load_image(path, at_least=(30, 30))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("cut_bottom", [0, 3])
def test_the_header_tells_the_size_that_decoding_gives(
    tmp_path: Path, orientation: int, cut_bottom: int
) -> None:
    image = Image.new("RGB", (9, 5))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif)
    decoded = load_image(tmp_path / "a.jpg", cut_bottom=cut_bottom)
    assert read_size(tmp_path / "a.jpg", cut_bottom=cut_bottom) == decoded.size[::-1]


def test_a_picture_that_would_have_no_rows_left_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (9, 5)).save(tmp_path / "a.png")
    for read in (load_image, read_size):
        with pytest.raises(OSError, match="5 rows are to be cut away, and it has 5"):
            read(tmp_path / "a.png", cut_bottom=5)
