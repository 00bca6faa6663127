from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from dcal.tuning.address import describe_storage_url, find_storage_url
from dcal.tuning.errors import TuningError
from dcal.tuning.storage import initialise_database, open_storage

FIRST_TOUCH = """
from dcal.tuning.storage import open_storage
open_storage()
"""
READ_ONLY = (
    'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && '
    'exec "$PYTHON" -c "from dcal.tuning.storage import open_storage; open_storage()"'
)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the studies of a test are kept; nothing is there yet."""
    path = tmp_path / "shared" / "optuna.db"
    monkeypatch.setenv("DCAL_OPTUNA_URL", f"sqlite:///{path}")
    return path


def test_the_default_database_is_absolute_and_in_the_work_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    place = tmp_path / "work" / "optuna.db"
    assert find_storage_url() == f"sqlite:///{place}"
    assert initialise_database() == "sqlite:///optuna.db is ready"
    assert place.is_file()
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("optuna.db", r"DCAL_OPTUNA_URL: expected a database, such as .*; got 'optuna\.db'"),
        ("sqlite:///optuna.db", r"expected a file by its absolute path"),
        ("sqlite://", r"expected a file by its absolute path"),
        ("sqlite:////:memory:", r"expected a file by its absolute path"),
        ("postgresql+psycopg://bob:secret@host:port/x", r"//\*\*\*@host:port/x is no address"),
        ("sqlight:////optuna.db", r"sqlight:////optuna\.db: is no address of a database"),
        ("mysql+nosuch://host/db", r"is no address of a database"),
        ("oracle://host/db", r"the driver of this database is not installed"),
    ],
)
def test_an_address_that_names_no_database_is_one_sentence(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCAL_OPTUNA_URL", url)
    with pytest.raises(TuningError, match=message) as caught:
        open_storage()
    assert "\n" not in str(caught.value)


def test_a_server_that_cannot_be_reached_is_one_sentence_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DCAL_OPTUNA_URL", "postgresql+psycopg://bob:secret@127.0.0.1:9/optuna")
    with pytest.raises(TuningError, match=r"\*\*\*@127.*cannot be reached .*refused") as caught:
        open_storage()
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert "secret" not in describe_storage_url()


@pytest.mark.parametrize("content", [b"not a database", b"\0" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(
    content: bytes, database: Path
) -> None:
    database.parent.mkdir()
    database.write_bytes(content)
    with pytest.raises(TuningError, match="expected a SQLite database, got another file; move it"):
        open_storage()
    assert database.read_bytes() == content


def test_a_damaged_database_is_one_sentence(database: Path) -> None:
    open_storage()
    content = database.read_bytes()
    database.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(TuningError, match=r"the database cannot be used \(.*malformed"):
        open_storage()


def test_a_database_of_another_program_is_refused_and_left_as_it_was(database: Path) -> None:
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE experiments (name TEXT)")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    before = database.read_bytes()
    with pytest.raises(TuningError, match=r"another program, with the tables alembic_version, exp"):
        open_storage()
    assert database.read_bytes() == before


def test_a_folder_in_the_way_is_one_sentence(database: Path) -> None:
    database.mkdir(parents=True)
    with pytest.raises(TuningError, match="cannot be read"):
        open_storage()


def test_an_empty_file_becomes_a_database(database: Path) -> None:
    database.parent.mkdir()
    database.touch()
    assert optuna.create_study(storage=open_storage()).trials == []


@pytest.mark.parametrize("exists", [False, True])
def test_a_read_only_database_is_one_sentence(
    exists: bool, database: Path, repository: Path
) -> None:
    database.parent.mkdir()
    if exists:
        open_storage()
        database.with_name("optuna.db.lock").touch()
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, str(database.parent)],
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(repository),
            "DCAL_OPTUNA_URL": f"sqlite:///{database}",
        },
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine permits no mount of one's own: {done.stderr.strip()}")
    said = done.stderr.strip().splitlines()[-1]
    assert "TuningError: " in said and "read-only" in said and "optuna.db" in said


def test_a_read_only_file_is_one_sentence(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_storage()

    def connect_read_only(path: Path, **options: object) -> sqlite3.Connection:
        return original(f"file:{path}?mode=ro", uri=True, **options)

    original = sqlite3.connect
    monkeypatch.setattr("dcal.tuning.storage.sqlite3.connect", connect_read_only)
    with pytest.raises(TuningError, match="may be read and not written to; let it be written to"):
        open_storage()


def test_processes_that_touch_a_new_database_together_all_succeed(
    database: Path, repository: Path
) -> None:
    command = [sys.executable, "-c", FIRST_TOUCH]
    workers = [
        subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
    assert not list(database.parent.glob(".part-*"))


def test_what_a_killed_process_left_half_made_is_cleared(database: Path) -> None:
    database.parent.mkdir()
    for name in (".part-optuna.db", ".part-optuna.db-journal"):
        database.with_name(name).write_bytes(b"half")
    open_storage()
    assert not list(database.parent.glob(".part-*"))
