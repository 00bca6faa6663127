"""Locks, studies and refusals on a PostgreSQL server of the test's own."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcal.tuning.errors import TuningError
from dcal.tuning.locks import StorageBusy, lock_storage
from dcal.tuning.storage import open_storage
from tests.postgres import execute, make_database, run_postgres
from tests.tuning.factory import make_plan, open_worker, score

pytestmark = [
    pytest.mark.slow,
    # A connection of Optuna's pool says so where it is closed by being forgotten.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FIRST_TOUCH = "from dcal.tuning.storage import open_storage; open_storage()"
HOLD = """
import time
from dcal.tuning.locks import lock_storage
with lock_storage():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with run_postgres() as address:
        yield address


@pytest.fixture
def database(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Let the environment name a new database, and return its address."""
    address = make_database(server, f"test_{abs(hash(request.node.name))}")
    monkeypatch.setenv("DCAL_OPTUNA_URL", address)
    yield address
    gc.collect()  # so that connections of a storage are closed here


def test_processes_that_touch_a_new_database_together_all_succeed(
    database: str, repository: Path
) -> None:
    command = [sys.executable, "-c", FIRST_TOUCH]
    workers = [
        subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors


def test_a_lock_reaches_who_shares_no_folder_and_ends_with_its_holder(
    database: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=repository, stdout=subprocess.PIPE, text=True
    )
    try:
        monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "elsewhere"))
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for seconds in (0, 1):
            with pytest.raises(StorageBusy, match="another process holds it"):
                with lock_storage(wait_seconds=seconds):
                    raise AssertionError
        with lock_storage("final", wait_seconds=0):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with lock_storage(wait_seconds=60):
        pass


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("reader", r"may be read and not written to; let it be written to, or set DCAL_OPTUNA_URL"),
        ("nobody_knows", r"the server refuses the connection \(.*does not exist\); see user, pass"),
    ],
)
def test_a_role_that_may_not_write_is_one_sentence(
    user: str, message: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_storage()
    execute(
        database,
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN PASSWORD 'secret'",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    )
    monkeypatch.setenv("DCAL_OPTUNA_URL", database.replace("//dcal@", f"//{user}:secret@"))
    with pytest.raises(TuningError, match=message) as caught:
        open_worker(make_plan(), score)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    execute(database, "DROP OWNED BY reader", "DROP ROLE reader")


def test_an_empty_database_that_lets_nobody_make_tables_is_one_sentence(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(database, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    monkeypatch.setenv("DCAL_OPTUNA_URL", database.replace("//dcal@", "//guest@"))
    with pytest.raises(TuningError, match=r"may be read and not written to.*permission denied"):
        open_storage()


def test_a_database_that_only_follows_another_is_one_sentence(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_storage()
    name = database.rpartition("/")[2]
    execute(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(TuningError, match=r"may be read and not written to.*read-only"):
        open_worker(make_plan(), score)
