"""Where things are kept, and that nothing is ever half there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dcal.paths import (
    compute_code_digest,
    compute_file_digest,
    compute_fingerprint,
    replace_folder,
    work_root,
    write_atomically,
    write_json,
    write_together,
)
from tests.project import ROOT


def test_the_work_root_is_asked_of_the_user_then_dvc_then_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "top" / "inner"
    inner.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(inner.parent)], check=True)
    monkeypatch.chdir(inner)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "mine"))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "dvc"))
    assert work_root() == tmp_path / "mine"
    monkeypatch.delenv("DCAL_WORK_ROOT")
    assert work_root() == tmp_path / "dvc"
    monkeypatch.delenv("DVC_ROOT")
    assert work_root() == inner.parent
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert work_root() == tmp_path


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with write_atomically(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(RuntimeError), write_atomically(path) as temporary:
        temporary.write_text("second")
        raise RuntimeError
    assert path.read_text() == "first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_written_file_has_the_mode_that_open_gives(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with write_atomically(tmp_path / "ours") as temporary:
        temporary.write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_temporary_file_keeps_the_suffix_that_writers_go_by(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "table.parquet") as temporary:
        temporary.write_text("")
        assert temporary.suffix == ".parquet"


def test_a_folder_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with replace_folder(path) as temporary:
        (temporary / "old").write_text("")
    with pytest.raises(RuntimeError), replace_folder(path) as temporary:
        (temporary / "new").write_text("")
        raise RuntimeError
    assert [entry.name for entry in path.iterdir()] == ["old"]
    with replace_folder(path) as temporary:
        (temporary / "new").write_text("")
    assert [entry.name for entry in path.iterdir()] == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_files_that_belong_together_come_together_and_the_last_one_last(tmp_path: Path) -> None:
    paths = [tmp_path / "model", tmp_path / "card"]
    with write_together(*paths) as temporaries:
        for temporary in temporaries:
            temporary.write_text("first")
        assert not any(path.exists() for path in paths)
    with pytest.raises(RuntimeError), write_together(*paths) as temporaries:
        temporaries[0].write_text("second")
        raise RuntimeError
    assert [path.read_text() for path in paths] == ["first", "first"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["card", "model"]


def test_a_card_never_stands_beside_weights_that_are_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, card = tmp_path / "model", tmp_path / "card"
    seen: list[tuple[str, bool]] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        replace(source, target)
        seen.append((target.name, card.exists()))

    card.write_text("old")
    monkeypatch.setattr(os, "replace", watched)
    with write_together(model, card):
        assert card.read_text() == "old"
    assert seen == [("model", False), ("card", True)]


def test_the_old_folder_returns_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"
    with replace_folder(path) as temporary:
        (temporary / "old").write_text("")
    replace = os.replace

    def refuse_new(source: Path, target: Path) -> None:
        if Path(source).name.startswith(".part-"):
            raise InterruptedError
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_new)
    with pytest.raises(InterruptedError), replace_folder(path) as temporary:
        (temporary / "new").write_text("")
    assert [entry.name for entry in path.iterdir()] == ["old"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_a_killed_process_moved_aside_is_brought_back(tmp_path: Path) -> None:
    aside = tmp_path / ".previous-folder"
    aside.mkdir()
    (aside / "old").write_text("")
    with pytest.raises(KeyError), replace_folder(tmp_path / "folder"):
        raise KeyError
    assert (tmp_path / "folder" / "old").is_file()
    assert not aside.exists()


def test_an_old_folder_that_a_killed_process_did_not_remove_is_removed(tmp_path: Path) -> None:
    for name in ("folder", ".previous-folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    with replace_folder(tmp_path / "folder") as temporary:
        (temporary / "new").write_text("")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == ["new"]


def test_a_link_to_a_folder_is_replaced_and_what_it_points_at_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("")
    (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
    with replace_folder(tmp_path / "folder") as temporary:
        (temporary / "new").write_text("")
    assert (tmp_path / "elsewhere" / "mine").is_file()
    assert (tmp_path / "folder" / "new").is_file()
    assert not (tmp_path / "folder").is_symlink()


def make_old(path: Path) -> None:
    os.utime(path, (0, 0))


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    (tmp_path / ".part-folder").mkdir()
    (tmp_path / ".part-folder" / "a").write_text("")
    (tmp_path / ".part-file").write_text("")
    (tmp_path / ".part-new").write_text("")
    make_old(tmp_path / ".part-folder")
    make_old(tmp_path / ".part-file")
    write_json(tmp_path / "a.json", {})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".part-new", "a.json"]


def test_what_a_live_process_is_writing_stays_however_old_it_is(tmp_path: Path) -> None:
    code = """
import sys
from dcal.paths import replace_folder, write_atomically
with write_atomically(sys.argv[1] + "/file"), replace_folder(sys.argv[1] + "/folder"):
    print("writing", flush=True)
    sys.stdin.read()
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    parts = list(tmp_path.glob(".part-*"))
    assert len(parts) == 2
    for part in parts:
        make_old(part)
    write_json(tmp_path / "a.json", {})
    assert all(part.exists() for part in parts)
    writer.kill()
    writer.communicate()
    write_json(tmp_path / "a.json", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.slow
def test_a_writer_that_is_killed_at_any_moment_leaves_one_whole_version(tmp_path: Path) -> None:
    code = """
import itertools, sys
from pathlib import Path
from dcal.paths import replace_folder, write_json
top = Path(sys.argv[1])
for version in itertools.count(int(sys.argv[2])):
    with replace_folder(top / "folder") as folder:
        for name in "abc":
            (folder / name).write_text(f"{version} " * 1000)
    write_json(top / "file.json", [version] * 1000)
    print("written", flush=True)
"""
    moments = np.random.default_rng(0).uniform(0, 0.05, 20)
    for number, seconds in enumerate(moments):
        command = [sys.executable, "-c", code, str(tmp_path), str(1000 * number)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert writer.stdout is not None and writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()
        writer.communicate()
        with pytest.raises(KeyError), replace_folder(tmp_path / "folder"):
            raise KeyError  # what was moved aside is brought back
        texts = [path.read_text().split() for path in sorted((tmp_path / "folder").iterdir())]
        assert len(texts) == 3 and len({word for text in texts for word in text}) == 1
        assert {len(text) for text in texts} == {1000}
        assert len(set(json.loads((tmp_path / "file.json").read_text()))) == 1


def test_a_file_and_its_name_are_on_the_disk_before_the_old_one_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    replace, fsync = os.replace, os.fsync

    def watched_fsync(handle: int) -> None:
        fsync(handle)
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")

    def watched_replace(source: Path, target: Path) -> None:
        replace(source, target)
        steps.append("rename")

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_json(tmp_path / "a.json", {})
    assert steps == ["file", "rename", "folder"]
    steps.clear()
    with replace_folder(tmp_path / "new") as temporary:
        (temporary / "a").write_text("")
    assert steps == ["file", "folder", "rename", "folder"]


def test_json_has_one_order_and_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert json.loads(path.read_text()) == {"a": [1.5, None], "b": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1.5, None], "b": 1}


def test_a_file_digest_is_the_well_known_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert compute_file_digest(tmp_path / "a", algorithm="md5") == (
        "900150983cd24fb0d6963f7d28e17f72"
    )
    assert compute_file_digest(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_a_fingerprint_changes_with_each_of_its_parts_and_not_with_key_order() -> None:
    first = compute_fingerprint({"a": 1, "b": 2}, data_digest="d", code_digest="c")
    assert len(first) == 12
    assert first == compute_fingerprint({"b": 2, "a": 1}, data_digest="d", code_digest="c")
    others = {
        compute_fingerprint({"a": 1, "b": 3}, data_digest="d", code_digest="c"),
        compute_fingerprint({"a": 1, "b": 2}, data_digest="x", code_digest="c"),
        compute_fingerprint({"a": 1, "b": 2}, data_digest="d", code_digest="x"),
    }
    assert len(others | {first}) == 4


def test_a_code_digest_follows_python_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "a.py").write_text("a = 1\n")
    before = compute_code_digest([folder])
    (folder / "__pycache__" / "a.pyc").write_text("bytes")
    (folder / "notes.md").write_text("words")
    assert compute_code_digest([folder]) == before
    (folder / "a.py").write_text("a = 2\n")
    assert compute_code_digest([folder]) != before
