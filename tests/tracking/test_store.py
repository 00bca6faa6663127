from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcal.tracking.passwords import mask_password
from dcal.tracking.store import describe_tracking_uri, find_tracking_uri

FIRST_TOUCH = """
from dcal.tracking.store import connect, find_experiment
client = connect()
client.create_run(find_experiment(client, "finches"))
"""


def test_the_default_database_is_absolute_and_in_the_work_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path))
    monkeypatch.chdir("/")
    assert find_tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_users_server_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert find_tracking_uri() == "http://127.0.0.1:5000"


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///tmp/mlruns", "bob:secret@db:5000"])
def test_a_folder_as_tracking_address_is_refused_in_one_sentence(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ValueError) as refused:
        find_tracking_uri()
    assert re.match(r"MLFLOW_TRACKING_URI: expected a server.*got .*$", str(refused.value))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        "https://bob:secret@example.org/mlflow",
        "postgresql+psycopg://bob:sec/ret@db:5432/runs",
        "postgresql://db/runs?user=bob&password=secret",
        "postgresql://db/runs?user=bob&password=sec#ret",
        "postgresql://bob:sec@ret@db/runs",
        "API request to https://bob:secret@db/runs failed: url https://bob:secret@db",
    ],
)
def test_no_password_is_left_in_a_written_address(uri: str) -> None:
    masked = mask_password(uri)
    assert "ret" not in masked
    assert "bob" not in masked
    assert masked.startswith(uri.partition("://")[0])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("got 'bob:secret@db'", "got '***@db'"),
        ("host=db password=secret", "host=db password=***"),
        ("run 7 of birds, 12:30", "run 7 of birds, 12:30"),
        ("someone@example.org", "someone@example.org"),
    ],
)
def test_no_password_is_left_in_what_is_said(text: str, masked: str) -> None:
    assert mask_password(text) == masked


def test_a_written_default_address_names_no_path_of_this_machine() -> None:
    assert describe_tracking_uri() == "sqlite:///mlflow.db"


def test_processes_that_touch_a_new_database_together_all_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "shared"))
    command = [sys.executable, "-c", FIRST_TOUCH]
    workers = [
        subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
    from dcal.tracking.store import connect, find_experiment

    client = connect()
    assert len(client.search_runs([find_experiment(client, "finches")])) == 3


def test_a_process_killed_while_it_makes_the_database_leaves_none_that_is_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    root = tmp_path / "killed"
    monkeypatch.setenv("DCAL_WORK_ROOT", str(root))
    maker = subprocess.Popen([sys.executable, "-c", FIRST_TOUCH], cwd=repository)
    part = root / ".part-mlflow.db"
    while not (part.exists() and part.stat().st_size):
        assert maker.poll() is None
        time.sleep(0.001)
    maker.kill()
    maker.wait()
    assert not (root / "mlflow.db").exists()
    from dcal.tracking.store import connect, find_experiment

    assert find_experiment(connect(), "finches")
    assert not list(root.glob(".part-*"))


def test_the_database_of_a_copied_project_names_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dcal.tracking.store import connect, find_experiment

    original, copy = tmp_path / "original", tmp_path / "a copy"
    monkeypatch.setenv("DCAL_WORK_ROOT", str(original))
    client = connect()
    run = client.create_run(find_experiment(client, "finches"))
    shutil.copytree(original, copy)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(copy))
    client = connect()
    expected = (copy / "mlruns").as_uri()
    assert client.get_run(run.info.run_id).info.artifact_uri.startswith(expected)
    made = client.create_run(find_experiment(client, "finches"))
    assert made.info.artifact_uri.startswith(expected)
    # MLflow keeps in mind where the files of a run are, hence the one of before last.
    for run_id in (made.info.run_id, run.info.run_id):
        client.log_text(run_id, "seen", "note.txt")
    assert len(list(copy.rglob("note.txt"))) == 2 and not list(original.rglob("note.txt"))
