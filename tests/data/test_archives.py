"""Nothing that an archive says is trusted."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Literal, cast

import pytest

from dcal.data.archives import unpack

CONTENT = bytes(range(256)) * 40


def _make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def _list_files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_tar_of_any_compression_is_unpacked_byte_for_byte(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "pictures" / "deep" / "a name with blanks.jpg"
    source.parent.mkdir(parents=True)
    source.write_bytes(CONTENT)
    compression = {".tgz": "gz", ".tar": ""}.get(suffix, suffix[5:])
    mode = cast(Literal["w:gz"], f"w:{compression}")
    with tarfile.open(tmp_path / f"a{suffix}", mode) as archive:
        archive.add(tmp_path / "pictures", arcname="./pictures")

    assert unpack(tmp_path / f"a{suffix}", tmp_path / "out") == 1
    assert (tmp_path / "out/pictures/deep/a name with blanks.jpg").read_bytes() == CONTENT


def test_zip_is_unpacked_byte_for_byte(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("x")
        archive.writestr("x/a.bin", CONTENT)
    assert unpack(tmp_path / "a.ZIP", tmp_path / "out") == 1
    assert (tmp_path / "out/x/a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a/.."])
def test_names_that_leave_the_target_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    for path in (_make_tar(tmp_path / "a.tar", (_member(name), b"x")), tmp_path / "a.zip"):
        with pytest.raises(ValueError, match="outside the target folder"):
            unpack(path, tmp_path / "deep" / "out")
    assert _list_files(tmp_path) == ["a.tar", "a.zip"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("link", ["/etc/passwd", "../../secret", "missing", "loop"])
def test_links_out_of_the_archive_are_refused(tmp_path: Path, kind: bytes, link: str) -> None:
    (tmp_path / "secret").write_text("secret")
    path = _make_tar(tmp_path / "a.tar", (_member("loop", kind=kind, link=link), b""))
    with pytest.raises(ValueError, match="loop is a link to no file of the archive"):
        unpack(path, tmp_path / "out")


def test_a_link_to_a_folder_outside_cannot_carry_a_file_out(tmp_path: Path) -> None:
    path = _make_tar(
        tmp_path / "a.tar",
        (_member("door", kind=tarfile.SYMTYPE, link=str(tmp_path)), b""),
        (_member("door/evil"), b"x"),
    )
    with pytest.raises(ValueError, match="link"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_links_inside_the_archive_become_copies(tmp_path: Path) -> None:
    path = _make_tar(
        tmp_path / "a.tar",
        (_member("./x/soft", kind=tarfile.SYMTYPE, link="../y/real"), b""),
        (_member("./y/real"), CONTENT),
        (_member("hard", kind=tarfile.LNKTYPE, link="./x/soft"), b""),
    )
    assert unpack(path, tmp_path / "out") == 3
    for name in ("x/soft", "y/real", "hard"):
        assert (tmp_path / "out" / name).read_bytes() == CONTENT
        assert not (tmp_path / "out" / name).is_symlink()


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = _make_tar(tmp_path / "a.tar", (_member("dev", kind=kind), b""))
    with pytest.raises(ValueError, match="dev is a device or pipe"):
        unpack(path, tmp_path / "out")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="link is a link or device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_expansion_beyond_the_bound_is_refused_over_all_files(tmp_path: Path) -> None:
    members = [(_member(f"{number}"), bytes(400)) for number in range(3)]
    path = _make_tar(tmp_path / "a.tar", *members)
    assert unpack(path, tmp_path / "enough", max_bytes=1200) == 3
    with pytest.raises(ValueError, match="refused at 2"):
        unpack(path, tmp_path / "short", max_bytes=1199)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_cut_archive_says_that_it_is_incomplete(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    noise = hashlib.shake_256(b"").digest(100_000)
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("x", noise)
    else:
        with tarfile.open(path, "w:gz") as archive:
            info = _member("x")
            info.size = len(noise)
            archive.addfile(info, io.BytesIO(noise))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        unpack(path, tmp_path / "out")


def test_something_else_than_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.rar: expected an archive"):
        unpack(tmp_path / "a.rar", tmp_path / "out")


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path) -> None:
    path = _make_tar(tmp_path / "a.tar", (_member("x"), b""), (_member("x/y"), b""))
    with pytest.raises(ValueError, match="a file and a folder of one name"):
        unpack(path, tmp_path / "out")


def test_a_zip_of_a_kind_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"x")
    content = path.read_bytes()
    central = content.index(b"PK\x01\x02")
    # The version that is needed to extract, and the way it is compressed.
    for offset in (6, 10):
        changed = bytearray(content)
        changed[central + offset] = 99
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"a\.zip: damaged or incomplete \("):
            unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = _member("x", kind=kind)
        info.size = 4 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
        archive.addfile(_member("y"))
    with pytest.raises(ValueError, match=r"damaged or incomplete \(a header of 4194304 bytes\)"):
        unpack(path, tmp_path / "out")


def test_a_compressed_tar_is_known_by_its_content(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:xz") as archive:
        archive.addfile(_member("x"))
    assert unpack(tmp_path / "a.tar", tmp_path / "out") == 1


def test_a_zip_that_points_before_its_own_beginning_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"x")
    content = bytearray(path.read_bytes())
    # Where the list of files begins, in the record at the end: beyond it, so all else moves back.
    content[-6:-2] = (len(content) + 200).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip: damaged or incomplete"):
        unpack(path, tmp_path / "out")


def test_a_name_too_long_for_the_disk_is_refused(tmp_path: Path) -> None:
    path = _make_tar(tmp_path / "a.tar", (_member("x" * 300), b""))
    with pytest.raises(ValueError, match="holds a name that is too long"):
        unpack(path, tmp_path / "out")


def test_a_name_with_a_line_end_does_not_break_the_sentence(tmp_path: Path) -> None:
    path = _make_tar(tmp_path / "a.tar", (_member("a\nb", kind=tarfile.FIFOTYPE), b""))
    with pytest.raises(ValueError, match="a b is a device or pipe"):
        unpack(path, tmp_path / "out")
