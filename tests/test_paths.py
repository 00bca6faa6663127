"""Where things are kept, and that nothing is ever half there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dcal.paths import (
    compute_code_digest,
    compute_file_digest,
    compute_fingerprint,
    replace_folder,
    work_root,
    write_atomically,
    write_json,
)


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
