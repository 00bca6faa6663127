"""Which failures a disk or a place is to blame for, and in which words."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from safetensors import SafetensorError

from dcal import write_errors
from dcal.paths import replace_folder, write_atomically
from dcal.write_errors import WriteError, describe_write_error

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def from_full() -> ValueError:
    error = ValueError("a writer's own words")
    error.__cause__ = FULL
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FULL, "the disk is full"),
        (from_full(), "the disk is full"),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "the disk is full",
        ),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full"),
        (OSError(errno.EDQUOT, "Quota"), "your quota there is used up"),
        (OSError(errno.EROFS, "Read-only"), "that place is read-only"),
        (OSError(errno.EFBIG, "Large"), "a file there may not become that large"),
        (OSError(errno.EIO, "Input/output error"), "the disk reports an error"),
    ],
)
def test_an_error_of_the_disk_is_one_sentence(
    error: Exception, reason: str, tmp_path: Path
) -> None:
    sentence = describe_write_error(error, tmp_path / "a.json")
    assert sentence is not None and "\n" not in sentence
    assert sentence.startswith(f"a.json could not be written in {tmp_path}: {reason}")
    assert "what was there before is intact" in sentence


def test_a_place_that_may_not_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    for name in (tmp_path / ".part-a", tmp_path, tmp_path.parent):
        error = PermissionError(errno.EACCES, "Permission denied", str(name))
        sentence = describe_write_error(error, tmp_path / "a.json")
        assert sentence is not None and "writing there is not permitted" in sentence


def test_the_room_that_is_left_is_told(tmp_path: Path) -> None:
    sentence = describe_write_error(FULL, tmp_path / "not" / "yet" / "there")
    assert sentence is not None and "MB free)" in sentence


def test_errors_of_other_places_and_of_the_program_are_not_the_disks(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "picture.jpg"
    others = [
        PermissionError(errno.EACCES, "Permission denied", str(elsewhere)),
        OSError(errno.EIO, "Input/output error", str(elsewhere)),
        FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "target" / "a")),
        FileExistsError(errno.EEXIST, "File exists", str(tmp_path / "target" / "part" / "a")),
        RuntimeError("out of memory"),
        OSError("no number"),
        KeyError("a"),
    ]
    for error in others:
        assert describe_write_error(error, tmp_path / "target" / "file") is None


@pytest.mark.parametrize("error", [RuntimeError("unexpected pos 64 vs 0"), OSError("encoder")])
def test_where_a_writer_does_not_say_why_it_failed_the_disk_is_asked(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_errors, "_PROBE_BYTES", 0)
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(FULL))
    sentence = describe_write_error(error, tmp_path / "a.ckpt")
    assert sentence is not None and "the disk is full" in sentence


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with (
        pytest.raises(WriteError, match="a file stands where a folder is needed"),
        write_atomically(tmp_path / "runs" / "train" / "a"),
    ):
        pass


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json" / "b").mkdir(parents=True)
    with (
        pytest.raises(WriteError, match=r"a\.json could not .*a folder of that name"),
        write_atomically(tmp_path / "a.json"),
    ):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["a.json", "b"]


def test_a_mount_point_that_cannot_be_replaced_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted").mkdir()

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(source), None, str(target))

    monkeypatch.setattr(os, "replace", refuse)
    with (
        pytest.raises(WriteError, match=r"^mounted could not .*: that place is a mount point or"),
        replace_folder(tmp_path / "mounted"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mounted"]


def test_a_write_within_a_folder_names_the_folder_that_was_to_be_replaced(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteError, match=r"^birds could not be written in .*: the disk is full"),
        replace_folder(tmp_path / "birds") as target,
        write_atomically(target / "classes.json"),
    ):
        raise FULL
    assert list(tmp_path.iterdir()) == []


def test_a_write_elsewhere_names_its_own_place(tmp_path: Path) -> None:
    with (
        pytest.raises(
            WriteError, match=r"^birds\.tgz could not be written in .*/archives: the disk"
        ),
        replace_folder(tmp_path / "raw" / "birds"),
        write_atomically(tmp_path / "archives" / "birds.tgz"),
    ):
        raise FULL


def test_an_error_of_the_program_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="^as it is$"), write_atomically(tmp_path / "a"):
        raise RuntimeError("as it is")
