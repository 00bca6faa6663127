"""`make server` on a real PostgreSQL: runs survive its end, and the web cannot ask it."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import sqlalchemy

from benchmarks.postgres import Cluster
from dcal.tracking.database import LOCK_NUMBER, OWN_TABLES, prepare_database
from dcal.tracking.spool import find_spool
from dcal.tracking.tracker import SpooledTracker, flatten_params
from pipelines import init, train
from pipelines.server import Places, prepare
from tests.pipelines.scored import make_project
from tests.postgres import run_cluster
from tests.project import Project, clone
from tests.test_documents import borrow_environment
from tests.tracking.group import GroupServer

pytestmark = pytest.mark.slow

SECRETS = ("hush-server", "hush-client")
NUM_EPOCHS = 16
TRAIN = {"epochs": NUM_EPOCHS, "warmup_epochs": 0.0, "batch_size": 2, "log_every": 1}


class MadeServer(GroupServer):
    """`make server` in a clone of the project, by a user's hand."""

    def __init__(self, project: Project, database: str) -> None:
        super().__init__(project.folder, database)
        self.project = project

    def build_command(self) -> list[str]:
        """Return what README says."""
        return ["make", "server", f"PORT={self.port}"]

    def build_environment(self) -> dict[str, str]:
        """Return a user's environment, with the database's address."""
        return self.project.environment() | {
            "MLFLOW_BACKEND_STORE_URI": self.database,
            "MLFLOW_SERVER_ALLOWED_HOSTS": "node7",
        }

    @property
    def url_of_client(self) -> str:
        """Return the address with what a proxy in front may ask for."""
        return self.url.replace("://", f"://bob:{SECRETS[1]}@")


class Group(NamedTuple):
    """A server and the database it is on."""

    server: MadeServer
    cluster: Cluster


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    project = clone(tmp_path_factory.mktemp("group") / "project")
    borrow_environment(project.folder)
    with run_cluster() as cluster:
        server = MadeServer(project, cluster.url.replace("dcal@", f"dcal:{SECRETS[0]}@"))
        server.start()
        yield Group(server, cluster)
        server.stop()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send often, so that what fails meets a send."""
    for name, seconds in (("SEND", 0.05), ("FIRST_WAIT", 0.05), ("LONGEST_WAIT", 0.2)):
        monkeypatch.setattr(f"dcal.tracking.sender.{name}_SECONDS", seconds)


def test_a_training_whose_server_and_database_end_meanwhile_is_told_once_and_whole(
    group: Group,
    hurry: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from mlflow import MlflowClient

    server, cluster = group
    caplog.set_level("INFO")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url_of_client)
    events = {
        8: server.stop,
        20: server.start,
        30: lambda: server.stop(signal.SIGTERM),
        40: server.start,
        50: cluster.stop,
        60: cluster.start,
    }
    happened = let_happen(monkeypatch, events)
    config = make_project(tmp_path, monkeypatch, train=TRAIN, dataset={"val_ratio": 0.0})
    train.main()
    assert happened == list(events)

    client = MlflowClient(server.url)
    (run,) = client.search_runs(
        [client.get_experiment_by_name(config.dataset.name).experiment_id], "status != 'DELETED'"
    )
    assert run.info.status == "FINISHED"
    assert run.data.params == flatten_params(config.model_dump(mode="json"))
    assert read_points(client, run.info.run_id, run.data.metrics) == read_history()
    # The client has an address of the server alone, and the files lie behind that.
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert client.get_experiment("0").artifact_location.startswith("mlflow-artifacts:/")
    copy = client.download_artifacts(run.info.run_id, "config/params.yaml", str(tmp_path))
    assert Path(copy).read_bytes() == Path("params.yaml").read_bytes()
    (kept,) = (server.folder / "mlflow-artifacts").rglob("params.yaml")
    assert kept.read_bytes() == Path("params.yaml").read_bytes()
    spool = find_spool(str(run.data.tags["dcal.run_key"]))
    assert spool.num_waiting == 0 and not spool.rejected.exists()

    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = [server.read_log(), caplog.text, *capfd.readouterr(), str(run.to_dictionary())]
    for secret in SECRETS:
        assert not any(secret in text for text in said)
        assert not [path for path, content in written.items() if secret.encode() in content]


def let_happen(monkeypatch: pytest.MonkeyPatch, events: dict[int, Callable[[], None]]) -> list[int]:
    """Let what is to happen do so after that many points; the first once the run is known."""
    log_metrics, num_points, happened = SpooledTracker.log_metrics, 0, list[int]()

    def log_and_let_happen(self: SpooledTracker, metrics: Any, step: int) -> None:
        nonlocal num_points
        log_metrics(self, metrics, step)
        num_points += 1
        if num_points in events:
            while self.run_id is None:
                time.sleep(0.05)
            events[num_points]()
            happened.append(num_points)

    monkeypatch.setattr(SpooledTracker, "log_metrics", log_and_let_happen)
    return happened


def read_points(client: Any, run_id: str, keys: Any) -> dict[str, list[tuple[int, str]]]:
    """Return all points of every curve, by step."""
    histories = {key: client.get_metric_history(run_id, key) for key in keys}
    return {
        key: sorted((point.step, f"{point.value:.5g}") for point in history)
        for key, history in histories.items()
    }


def read_history() -> dict[str, list[tuple[int, str]]]:
    """Return the same of results/train/history.csv."""
    table = pd.read_csv("results/train/history.csv").set_index("step")
    columns = {key: table[key].dropna() for key in table if key != "epoch"}
    return {
        str(key): [(int(step), f"{value:.5g}") for step, value in column.items()]
        for key, column in columns.items()
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:{port}"}, 200),
        ({"Host": "localhost:{port}"}, 200),
        # As a proxy asks, and a browser whose page came from there.
        ({"Host": "node7"}, 200),
        ({"Host": "node7:{port}", "Origin": "http://node7:{port}"}, 200),
        ({"Host": "mlflow.example.org"}, 403),
        # MLflow's own list lets this one in, as if it were an address.
        ({"Host": "10.example.org"}, 403),
        ({"Origin": "http://example.org"}, 403),
    ],
)
def test_a_page_of_the_web_cannot_ask_the_server(
    group: Group, headers: dict[str, str], status: int
) -> None:
    request = urllib.request.Request(
        f"{group.server.url}/api/2.0/mlflow/experiments/search",
        b'{"max_results": 1}',
        {key: text.format(port=group.server.port) for key, text in headers.items()}
        | {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            found = answer.status
    except urllib.error.HTTPError as error:
        found = error.code
    assert found == status


def test_no_command_line_and_no_page_shows_the_password(group: Group) -> None:
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert any(b"mlflow.server" in line for line in lines)
    assert not any(SECRETS[0].encode() in line for line in lines)


def test_a_second_server_on_its_port_is_one_sentence(group: Group) -> None:
    server = group.server
    done = subprocess.run(
        server.build_command(),
        cwd=server.folder,
        env=server.build_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.startswith(
        f"server: port {server.port} of 127.0.0.1 is in use by another process; choose another one:"
        " make server PORT="
    )


def test_a_database_that_takes_nothing_is_one_sentence(group: Group, tmp_path: Path) -> None:
    database, masked = group.server.database, group.cluster.url.replace("dcal@", "***@")
    read_only = f"{database}?options=-c%20default_transaction_read_only%3Don"
    refusals = {
        read_only: f"{masked}?options=*** cannot be used (its database is read-only)",
        make_database(group.cluster, "studies", "CREATE TABLE trials (id int)"): (
            "studies cannot be used (expected MLflow's or an empty one; it is of another program, "
            "with the tables trials)"
        ),
        f"{database}s": f"{masked}s cannot be used (it has no database of that name)",
    }
    for url, reason in refusals.items():
        with pytest.raises(SystemExit) as stopped:
            prepare(Places(url, str(tmp_path)))
        assert str(stopped.value).startswith("server: the database postgresql+psycopg://***@")
        assert str(stopped.value).endswith(f"{reason}; see MLFLOW_BACKEND_STORE_URI")


def test_what_tracks_straight_to_a_database_leaves_another_programs_as_it_is(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database(group.cluster, "others", "CREATE TABLE trials (id int)")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    with pytest.raises(SystemExit) as stopped:
        init.main()
    assert "expected MLflow's or an empty one; it is of another program" in str(stopped.value)
    assert str(stopped.value).endswith("; see MLFLOW_TRACKING_URI")
    engine = sqlalchemy.create_engine(url)
    assert sqlalchemy.inspect(engine).get_table_names() == ["trials"]
    engine.dispose()


def test_of_all_machines_one_at_a_time_makes_the_tables(group: Group) -> None:
    url = make_database(group.cluster, "fresh")
    engine = sqlalchemy.create_engine(url)
    waiting = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    ours = sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)")
    other = threading.Thread(target=prepare_database, args=(url,), kwargs={"artifact_root": "/"})
    with engine.begin() as machine:
        machine.execute(ours, {"key": LOCK_NUMBER})
        other.start()
        while not machine.execute(waiting).scalar():
            assert other.is_alive()
            time.sleep(0.05)
        assert not sqlalchemy.inspect(engine).get_table_names()
    other.join()
    assert OWN_TABLES <= set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()


def make_database(cluster: Cluster, name: str, *statements: str) -> str:
    """Return the address of a new database beside the server's."""
    url = cluster.url.rpartition("/")[0] + f"/{name}"
    for address, lines in ((cluster.url, [f"CREATE DATABASE {name}"]), (url, statements)):
        engine = sqlalchemy.create_engine(address, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for line in lines:
                connection.execute(sqlalchemy.text(line))
        engine.dispose()
    return url
