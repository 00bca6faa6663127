"""What a user does to a running pipeline, and what the next call makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.kills import describe_results, kill_runs
from dcal.tracking.store import connect
from tests.project import Project, clone, find_stages

pytestmark = pytest.mark.slow

# Long enough to be met in the middle, with a checkpoint after every step.
LONG = ("preset=smoke", "train.epochs=6", "train.checkpoint_minutes=0")
PATIENCE_SECONDS = 180


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a clone that has its index and has not trained; do not change it, copy it."""
    project = clone(tmp_path_factory.mktemp("prepared") / "project")
    project.compose(*LONG)
    project.repro("prepare")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "Prepared")
    return project


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    return prepared.copy(tmp_path / "project")


@pytest.fixture(scope="module")
def trained(prepared: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return one that was trained and scored without disturbance, once for all; copy it too."""
    project = prepared.copy(tmp_path_factory.mktemp("trained") / "project")
    project.repro("evaluate")
    return project


def start(project: Project, *command: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, as a terminal would."""
    return subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_until(is_now: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait, and fail where the process that should bring it about ends before."""
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while not is_now():
        assert process is None or process.poll() is None
        assert time.perf_counter() < deadline
        time.sleep(0.005)


def has_checkpoint(project: Project) -> Callable[[], bool]:
    return lambda: any((project.folder / "checkpoints").glob("*/step-*.ckpt"))


def find_trainer(process: subprocess.Popen[str]) -> psutil.Process:
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if "pipelines.train" in child.cmdline())


def read_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> list:
    monkeypatch.setenv("DCAL_WORK_ROOT", str(project.folder))
    client = connect()
    return list(client.search_runs([entry.experiment_id for entry in client.search_experiments()]))


def test_killed_pipelines_end_as_undisturbed_ones(tmp_path: Path) -> None:
    # Those that other tests do not meet; python -m benchmarks.kills makes as many as one likes.
    moments = ("epoch end", "checkpoint", "results")
    rows = kill_runs(tmp_path, num_kills=3, seed=3, moments=moments)
    assert [row["differences"] for row in rows] == [[]] * len(rows)
    assert sum(outcome["hit"] for row in rows for outcome in row["kills"]) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_says_where_it_is_and_ends_as_an_undisturbed_one(
    project: Project, trained: Project, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(project, "dvc", "repro", "evaluate")
    wait_until(has_checkpoint(project), process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to all of the foreground
    else:
        find_trainer(process).send_signal(number)
    said, _ = process.communicate()
    assert process.returncode != 0
    assert "error: training stopped: " in said and "the same command goes on from there" in said
    assert "Traceback" not in said
    assert [run.info.status for run in read_runs(project, monkeypatch)] == ["KILLED"]
    again = project.run("dvc", "repro", "evaluate")
    assert "going on from step" in again
    (run,) = read_runs(project, monkeypatch)
    assert run.info.status == "FINISHED"
    record = project.read_json("results/train/run.json")
    assert record["run_id"] == run.info.run_id and record["resumed_from"][0] > 0
    assert describe_results(project) == describe_results(trained)


def test_params_edited_while_it_trains_fail_the_stage_and_the_finished_run_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.folder / "params.yaml"
    before = path.read_text()
    process = start(project, "dvc", "repro", "train")
    wait_until(has_checkpoint(project), process)
    path.write_text(before.replace("top_r: 0.3", "top_r: 0.5"))
    said, _ = process.communicate()
    assert process.returncode != 0
    assert "params.yaml: model.top_r was 0.3 and is 0.5" in said and "Traceback" not in said
    assert not (project.folder / "runs/train/model.safetensors").exists()
    assert "train" in project.run("dvc", "status", "--json", "dvc.yaml")
    path.write_text(before)
    said = project.run("dvc", "repro", "train")
    assert "going on from step 24" in said and "epoch 6/6" not in said
    (run,) = read_runs(project, monkeypatch)
    assert run.info.status == "FINISHED" and run.data.params["model.top_r"] == "0.3"


def test_changed_parameters_never_meet_an_old_checkpoint(trained: Project, tmp_path: Path) -> None:
    project = trained.copy(tmp_path / "project")
    project.compose(*LONG, "model.top_r=0.8")
    said = project.run("dvc", "repro", "train")
    assert "going on" not in said and "epoch 1/6" in said
    assert len(list((project.folder / "checkpoints").iterdir())) == 2


def test_force_trains_anew_what_dvc_has_and_not_what_it_has_not(
    trained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = trained.copy(tmp_path / "project")
    first = project.read_json("results/train/run.json")
    (project.folder / "dvc.lock").rename(project.folder / "lock")
    said = project.run("dvc", "repro", "-f", "--single-item", "train")
    assert "going on from step 24" in said
    assert project.read_json("results/train/run.json")["run_id"] == first["run_id"]
    said = project.run("dvc", "repro", "-f", "--single-item", "train")
    assert "it is trained anew" in said and "epoch 6/6" in said
    assert project.read_json("results/train/run.json")["run_id"] != first["run_id"]
    assert len(read_runs(project, monkeypatch)) == 2


def test_a_killed_temporary_experiment_goes_on_when_it_is_run_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["dvc", "exp", "run", "--temp", "-n", "bold-finch", "-S", "model.top_r=0.6", "train"]
    process = start(project, *command)
    wait_until(has_checkpoint(project), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    said = project.run(*command)
    assert "going on from step" in said
    (run,) = read_runs(project, monkeypatch)
    assert run.info.status == "FINISHED" and run.data.params["model.top_r"] == "0.6"


def test_a_killed_experiment_of_the_queue_goes_on_when_it_is_queued_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = ("dvc", "exp", "run", "--queue", "-S", "model.top_r=0.6", "train")
    try:
        project.run(*queue, "-n", "first")
        project.run("dvc", "queue", "start")  # which leaves a worker behind
        wait_until(has_checkpoint(project))
        kill_all_below(project.folder)
        project.run(*queue, "-n", "second")
        project.run("dvc", "queue", "start")
        wait_until(lambda: read_runs(project, monkeypatch)[0].info.status == "FINISHED")
    finally:
        kill_all_below(project.folder)
    (run,) = read_runs(project, monkeypatch)
    assert run.data.params["model.top_r"] == "0.6"
    losses = connect().get_metric_history(run.info.run_id, "train/loss")
    assert losses[-1].step == 24 and len({point.step for point in losses}) == len(losses)


def kill_all_below(folder: Path) -> None:
    """Kill every process whose current directory is in a folder, as a power cut would."""
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                process.kill()
        except (psutil.Error, OSError):
            continue


def test_two_repros_at_once_are_one_run_and_one_clear_error(project: Project) -> None:
    process = start(project, "dvc", "repro", "train")
    wait_until(has_checkpoint(project), process)
    said = project.run("dvc", "repro", "train", succeeds=False)
    assert "is busy, it is being blocked by" in said
    process.communicate()
    assert process.returncode == 0
    assert find_stages(project.run("dvc", "repro", "train")) == []


def test_a_damaged_checkpoint_is_said_in_the_record(project: Project) -> None:
    process = start(project, "dvc", "repro", "train")
    wait_until(lambda: len(list((project.folder / "checkpoints").glob("*/step-*"))) > 1, process)
    find_trainer(process).kill()
    process.communicate()
    newest = max((project.folder / "checkpoints").glob("*/step-*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:-100])
    project.repro("train")
    warnings = project.read_json("results/train/run.json")["warnings"]
    assert any("is damaged" in warning for warning in warnings)
