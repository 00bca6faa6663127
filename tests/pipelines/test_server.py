"""What `make server` refuses before it serves, and what it hands on to MLflow."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dcal.paths import work_root
from pipelines import dashboard, server
from pipelines.server import ALLOWED_HOSTS, ALLOWED_ORIGINS, DATABASE, FILES, UNCHECKED, Places


def choose(host: str = "127.0.0.1", **environment: str) -> list[str]:
    return server.choose_names(environment, host=host, port=5000)


@pytest.mark.parametrize(
    ("host", "environment", "sentence"),
    [
        ("0.0.0.0", {}, "HOST=0.0.0.0 opens the server to other machines; say under which names"),
        ("node7", {}, "HOST=node7 opens the server to other machines"),
        ("127.0.0.1", {ALLOWED_HOSTS: "a.org, *"}, f"{ALLOWED_HOSTS}: expected names, such as"),
        ("127.0.0.1", {ALLOWED_ORIGINS: "*"}, f"{ALLOWED_ORIGINS}: expected names, such as"),
        ("127.0.0.1", {UNCHECKED: "true"}, f"{UNCHECKED} is set, and would let any page"),
    ],
)
def test_a_server_that_any_page_could_ask_is_refused(
    host: str, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SystemExit, match="^server: ") as stopped:
        choose(host, **environment)
    assert str(stopped.value).startswith(f"server: {sentence}")


def test_a_name_is_allowed_at_the_servers_own_port_and_its_pages_are_of_one_origin() -> None:
    assert choose() == choose("localhost") == choose("::1") == []
    names = choose("0.0.0.0", **{ALLOWED_HOSTS: "mlflow.example.org, node7:80"})
    assert names == ["mlflow.example.org", "node7:80", "mlflow.example.org:5000"]
    built = server.build_environment({}, Places("sqlite:////d.db", "/f"), names)
    assert {"http://mlflow.example.org:5000", "https://mlflow.example.org"} <= set(
        built[ALLOWED_ORIGINS].split(",")
    )
    assert {*server.OWN_NAMES, *names} == set(built[ALLOWED_HOSTS].split(","))
    own = server.build_environment({ALLOWED_ORIGINS: "https://a.org"}, Places("d", "f"), names)
    assert own[ALLOWED_ORIGINS] == "https://a.org"


def test_files_go_through_the_server_whatever_else_is_set() -> None:
    given = {
        "MLFLOW_SERVE_ARTIFACTS": "false",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": "/of/this/machine",
        "MLFLOW_TRACKING_URI": "http://other:5000",
        "MLFLOW_WORKERS": "3",
        "AWS_REGION": "x",
    }
    built = server.build_environment(given, Places("sqlite:////d.db", "/f"), [])
    assert built["MLFLOW_SERVE_ARTIFACTS"] == "true"
    assert built["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == "mlflow-artifacts:/"
    assert (built[DATABASE], built[FILES]) == ("sqlite:////d.db", "/f")
    assert (built["MLFLOW_WORKERS"], built["AWS_REGION"]) == ("3", "x")
    assert "MLFLOW_TRACKING_URI" not in built and ALLOWED_ORIGINS not in built


def test_without_an_address_all_lies_in_the_work_root() -> None:
    root = work_root()
    expected = Places(f"sqlite:///{root}/mlflow-server.db", f"{root}/mlflow-artifacts")
    assert server.find_places({DATABASE: " "}) == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://bob:hush@db:5000", "http://***@db:5000"),
        ("bob:hush@db", "***@db"),
        ("sqlite:///runs.db", "sqlite:///runs.db"),
        ("./mlruns", "./mlruns"),
    ],
)
def test_what_is_no_database_is_refused_without_its_password(url: str, shown: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        server.find_places({DATABASE: url})
    assert str(stopped.value) == (
        f"server: {DATABASE}: expected a database, such as postgresql://user:password@host/runs or "
        f"sqlite:////path/runs.db; got {shown}"
    )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://bob:hush@127.0.0.1:{port}/runs", "connection refused"),
        ("postgresql://bob:hush@127.0.0.1:nine/runs", "that is no address of a database"),
        # A password with signs that an address must have written otherwise.
        ("postgresql://bob:hu@sh@127.0.0.1:{port}/runs", "its name is not known"),
        ("mysql://bob:hush@127.0.0.1/runs", "the driver mysqldb is not installed"),
        ("sqlite:///{file}", "what is there is no SQLite database"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence_without_its_password(
    url: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no database\n" * 100)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = url.format(port=closed.getsockname()[1], file=tmp_path / "notes.txt")
        with pytest.raises(SystemExit) as stopped:
            server.prepare(Places(url, str(tmp_path)))
    said = str(stopped.value)
    assert said.startswith("server: the database ") and said.endswith(
        f"({sentence}); see {DATABASE}"
    )
    assert "hu" not in said and "sh@" not in said and "\n" not in said


def test_a_place_for_files_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (f"{tmp_path}/file/inside", f"file://{tmp_path}/file/inside"):
        with pytest.raises(SystemExit, match=f"^server: {FILES}: inside could not be"):
            server.prepare(Places("sqlite:////unused.db", place))


def test_a_new_sqlite_database_has_all_files_behind_the_server(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    places = server.find_places({})
    server.prepare(places)
    server.prepare(places)
    first = MlflowClient(places.database).get_experiment("0")
    assert first.artifact_location.startswith("mlflow-artifacts:/")
    assert Path(places.files).is_dir() and not list(work_root().glob(".part-*"))


def answer(environment: dict[str, str]) -> str:
    said: list[str] = []
    application = dashboard.refuse_other_names(lambda given, start: [b"a page"])
    body = application(environment, lambda status, headers: said.append(status))
    return b"".join(body).decode() if not said else said[0]


@pytest.mark.parametrize("name", ["127.0.0.1:8080", "localhost:8080", "localhost"])
def test_the_dashboard_answers_to_this_machines_own_name(name: str) -> None:
    assert answer({"HTTP_HOST": name}) == "a page"


@pytest.mark.parametrize("name", ["example.org", "127.0.0.1.example.org:8080", ""])
def test_the_dashboard_answers_to_no_other_name(name: str) -> None:
    assert answer({"HTTP_HOST": name} if name else {}) == "403 Forbidden"


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_the_dashboard_shows_the_studies_of_a_database_and_of_a_journal(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "journal":
        monkeypatch.setenv("DCAL_OPTUNA_URL", f"journal:///{tmp_path}/studies/all.log")
    application = dashboard.build_application()
    statuses: list[str] = []
    environment = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/studies",
        "HTTP_HOST": "localhost",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8080",
        "wsgi.url_scheme": "http",
        "wsgi.input": open(os.devnull, "rb"),
    }
    body = b"".join(application(environment, lambda status, headers, *_: statuses.append(status)))
    environment["wsgi.input"].close()
    assert statuses == ["200 OK"] and b"study_summaries" in body
