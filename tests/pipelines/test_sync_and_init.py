"""What is run by hand around tracking: sending what waits, and making the databases."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcal.paths import work_root
from dcal.tracking.journal import Journal
from dcal.tracking.spool import Spool, find_spool
from dcal.tracking.store import connect
from pipelines import init, sync
from tests.project import ROOT

ORIGIN = {"kind": "create", "experiment": "finches", "name": "n", "tags": {}, "start_time": 0}
KEYS = ("a" * 32, "b" * 32)


def fill(run_key: str) -> Spool:
    spool = find_spool(run_key)
    journal = Journal(spool)
    journal.append(ORIGIN)
    journal.append({"kind": "metrics", "step": 1, "time": 1000, "values": {"train/loss": 0.5}})
    journal.close()
    return spool


def test_sync_sends_every_spool_that_waits_with_a_line_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spools = [fill(key) for key in KEYS]
    sync.main()
    assert capsys.readouterr().out.splitlines() == [
        f"run {key}: 2 entries sent, 0 wait" for key in KEYS
    ]
    for spool in spools:
        run = connect().get_run(str(spool.read_state().run_id))
        assert run.data.metrics == {"train/loss": 0.5}
    sync.main()
    assert capsys.readouterr().out == "sync: nothing waits\n"


def test_sync_leaves_a_spool_to_the_process_that_sends_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    busy, free = (fill(key) for key in KEYS)
    with busy.sender_lock():
        sync.main()
    assert capsys.readouterr().out.splitlines() == [
        f"run {KEYS[0]}: left to the running process that sends its 2 entries",
        f"run {KEYS[1]}: 2 entries sent, 0 wait",
    ]
    assert (busy.num_waiting, free.num_waiting) == (2, 0)


def test_sync_says_in_one_sentence_that_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    fill(KEYS[0])
    with pytest.raises(SystemExit) as stopped:
        sync.main()
    assert stopped.value.code == (
        "sync: MLflow at http://127.0.0.1:9 takes nothing (connection refused): 1 runs wait; "
        "see that it answers, or set MLFLOW_TRACKING_URI"
    )


def test_sync_fails_if_something_still_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(KEYS[0])
    client = connect()
    client.delete_experiment(client.create_experiment("finches"))
    monkeypatch.setattr("dcal.tracking.sender.PATIENCE_SECONDS", 0.2)
    with pytest.raises(SystemExit, match="^1$"):
        sync.main()
    assert capsys.readouterr().out == f"run {KEYS[0]}: 0 entries sent, 2 wait\n"


def test_init_makes_the_database_once_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.init"]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in started:
        assert process.communicate()[0] == (
            "MLflow: sqlite:///mlflow.db is ready\nOptuna: sqlite:///optuna.db is ready\n"
        )
        assert process.returncode == 0
    assert (work_root() / "mlflow.db").is_file()
    assert connect().search_experiments()[0].name == "Default"


def test_init_leaves_a_servers_database_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:secret@127.0.0.1:9")
    said = CliRunner().invoke(_app(), []).output
    assert said.startswith("MLflow: http://***@127.0.0.1:9 keeps its own database\n")
    assert not (work_root() / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("module", "speaker", "command"),
    [
        ("init", "init", "make ui"),
        ("dashboard", "dashboard", "make dashboard"),
        ("server", "server", "make server"),
    ],
)
def test_a_port_in_use_is_one_sentence_with_a_free_one(
    module: str, speaker: str, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [sys.executable, "-m", f"pipelines.{module}", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1 and done.stdout == ""
    sentence, _, other = done.stderr.strip().rpartition(f"{command} PORT=")
    assert sentence == (
        f"{speaker}: port {port} of 127.0.0.1 is in use by another process; choose another one: "
    )
    assert int(other) > port


def test_make_looks_at_a_port_before_it_starts_anything_and_shows_no_password() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    (head,) = [line for line in lines if line.startswith("ui: setup")]
    recipe = lines[lines.index(head) + 1 :][:4]
    assert recipe[0] == "\t@python -m pipelines.init --port $(PORT)"
    assert "--host 127.0.0.1 --port $(PORT)" in recipe[2]
    # Every user of a machine sees command lines, and addresses may hold passwords.
    assert recipe[1].startswith("\t@export MLFLOW_BACKEND_STORE_URI=")
    assert not any("--backend-store-uri" in line or "OPTUNA_URL" in line for line in lines)


def _app() -> object:
    import typer

    app = typer.Typer()
    app.command()(init.main)
    return app
