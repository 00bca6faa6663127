"""What README tells a reader to do works, at smoke size where it is long."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from pipelines import server
from pipelines.compose import compose_tree
from tests.project import Project

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def read_blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def read_commands() -> list[str]:
    """Return the lines of all shell blocks without their remarks."""
    lines = "".join(read_blocks("bash")).splitlines()
    return [line for line in dict.fromkeys(each.split("  #")[0].strip() for each in lines) if line]


COMMANDS = read_commands()
# After a study, as tests/test_tuning.py has them.
TUNE = ["python -m pipelines.compose tune=best"]
# As tests/test_tuning_workers.py and tests/test_ablation_workers.py have them.
WORKERS = [f"python -m pipelines.{name} --worker" for name in ("tune", "ablate")]
COMPOSE = [
    line for line in COMMANDS if line.startswith("python -m pipelines.compose") and line not in TUNE
]
# Between two clones, as tests/test_sharing.py has them.
BETWEEN_CLONES = [
    "git add -A && git commit -m Results && git push",
    *(f"dvc exp {verb} bold-finch" for verb in ("push origin", "pull origin", "apply")),
]
# Of runs that are queued, as tests/test_dvc_tables.py has them.
TABLES = README.partition("\n## Compare runs with DVC alone\n")[2].partition("\n## ")[0]
ELSEWHERE = {*BETWEEN_CLONES, *(line for line in COMMANDS if f"\n{line}\n" in TABLES)}
DVC = [line for line in COMMANDS if line.startswith("dvc ") and line not in ELSEWHERE]
STAGE = [f"python -m pipelines.{name}" for name in ("fetch", "prepare", "evaluate")]
CROSS = [line for line in COMMANDS if line.startswith("python -m pipelines.cross_sets")]
CHECK = "dcal check cub"
CLI = [line for line in COMMANDS if line.startswith("dcal ") and line != CHECK]
# Of a server and its clients, as tests/tracking/test_group_server.py has them.
SERVER = [line for line in COMMANDS if line.startswith("export MLFLOW_TRACKING_URI=http://127.")]
# Long, or of another's making: a test of their own below or elsewhere, or none.
OTHERS = {"xdg-open reports/report.html"}
# As tests/pipelines/test_processes.py has it.
PARALLEL = "torchrun --standalone --nproc-per-node=2 -m pipelines.train"


def test_every_command_of_readme_is_of_a_kind_that_is_tested() -> None:
    make = {line for line in COMMANDS if line.startswith("make ")}
    others = {*ELSEWHERE, *STAGE, *CROSS, *CLI, CHECK, *TUNE, *WORKERS, *SERVER, *OTHERS, PARALLEL}
    assert set(COMMANDS) == {*COMPOSE, *DVC, *others, *make}
    assert len(COMPOSE) > 3


@pytest.mark.parametrize("command", COMPOSE)
def test_every_composition_of_readme_composes(command: str) -> None:
    compose_tree(command.split()[3:], ROOT / "experiments")


@pytest.mark.parametrize(
    "command",
    sorted(set(re.findall(r"\bmake ([a-z][a-z-]*)", " ".join(re.findall("`.*?`", README))))),
)
def test_every_make_target_of_readme_exists(command: str) -> None:
    assert f"\n{command}: " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_linked_file_of_readme_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "name", re.findall(r"(?:preset|paper|ablation|dataset)=[a-z_0-9]+", README)
)
def test_every_option_that_readme_names_exists(name: str) -> None:
    group, _, option = name.partition("=")
    assert (ROOT / "experiments" / group / f"{option}.yaml").is_file()


@pytest.mark.slow
def test_the_commands_of_dvc_run_one_after_the_other(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "Results")
    for command in DVC:
        project.run(*command.split())


@pytest.mark.slow
def test_a_model_is_used_in_every_way(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    pictures = next((project.folder / "data/raw/birds_smoke/images/test").iterdir())
    said = {
        command: project.run(*command.replace("/path/to/pictures", str(pictures)).split())
        for command in CLI
    }
    told = {command.split()[1]: text for command, text in said.items()}  # the last of each
    assert "0.000" in told["search"] and "<img" in (project.folder / "found.html").read_text()
    assert "other class 0.0%" in told["export"] and (project.folder / "model.onnx").is_file()
    assert "version 1 of birds, of run " in told["register"]
    answers = json.loads(told["predict"][told["predict"].index("{") :])["pictures"]
    assert len(answers) == len(list(pictures.iterdir()))
    for name in ("classes.csv", "explained/index.csv"):
        assert (project.folder / name).read_text().count("\n") > 1


@pytest.mark.slow
def test_a_published_set_is_checked(finished: Project) -> None:
    # Status 1: it was not fetched here.
    said = finished.run(*CHECK.split(), succeeds=False)
    assert "CUB_200_2011.tgz, 1,151 MB" in said and "then dvc repro fetches" in said


@pytest.mark.slow
def test_a_model_file_is_scored_without_anything_of_its_training(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    for suffix in ("safetensors", "json"):
        (project.folder / f"runs/train/model.{suffix}").rename(project.folder / f"model.{suffix}")
    for left in ("runs", "results/train", "results/evaluate", "data"):
        shutil.rmtree(project.folder / left)
    project.compose("preset=smoke", "evaluate.weights=model.safetensors")
    for command in STAGE:
        project.run(*command.split())
    expected = finished.read_json("results/evaluate/metrics.json")
    assert project.read_json("results/evaluate/metrics.json") == expected


@pytest.mark.slow
@pytest.mark.parametrize("code", read_blocks("python"))
def test_the_python_of_readme_runs(
    code: str, finished: Project, finished_reid: Project, tmp_path: Path
) -> None:
    of_kind = finished_reid if "retrieval" in code else finished
    project = of_kind.copy(tmp_path / "project")
    project.run("python", "-c", code)


@pytest.mark.slow
def test_a_model_is_ranked_on_sets_that_were_prepared(
    finished_reid: Project, tmp_path: Path
) -> None:
    project = finished_reid.copy(tmp_path / "project")
    (command,) = CROSS
    said = project.run(*command.replace("mine vehicles", "vehicles_smoke").split())
    assert "both" in said
    own = project.read_json("results/evaluate/metrics.json")
    found = project.read_json("results/cross_sets/metrics.json")
    assert found["test/vehicles_smoke/both/mean_ap"] == own["test/both/mean_ap"]
    said = project.run(*command.split(), succeeds=False)
    assert "data set mine: expected one that was prepared here (vehicles_smoke)" in said


@pytest.mark.slow
def test_the_files_that_readme_points_at_are_there(finished: Project) -> None:
    table = [line.split("|")[2] for line in README.splitlines() if line.startswith("| ")]
    places = [place for cell in table for place in re.findall(r"`([^`]+/[^`]*)`", cell)]
    # Those of a study and a grid are looked for by tests/test_tuning.py and test_ablation.py.
    places = [place for place in places if "/tune" not in place and "/ablate" not in place]
    assert len(places) > 3
    for place in places:
        assert (finished.folder / place).exists(), place


@pytest.mark.slow
def test_make_repro_uses_the_environment_and_ends_with_scores_and_places(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    borrow_environment(project.folder)
    first = project.run("make", "repro")
    assert "setup:" not in first
    assert "Data and pipelines are up to date." in first
    assert "top-1" in first and "reports/report.html" in first
    said = project.run("make", "share", succeeds=False)
    assert "error: expected a place to share through, got none" in said
    said = project.run("make", "receive", "REMOTE=/no such folder", succeeds=False)
    assert "error: REMOTE=/no such folder: no such folder" in said
    said = project.run("make", "report", "RUN=no such run", succeeds=False)
    assert "error: RUN=no such run: no experiment" in said


@pytest.mark.slow
def test_the_housekeeping_commands_say_what_they_found(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    borrow_environment(project.folder)
    assert "would be freed" not in project.run("make", "gc", "ARGS=--dry-run")
    said = project.run("make", "gc")
    assert "finished" in said and "kept" in said and "freed 0 bytes" in said
    assert "nothing waits" in project.run("make", "sync")
    said = project.run("make", "server", "HOST=0.0.0.0", succeeds=False)
    assert "server: HOST=0.0.0.0 opens the server to other machines; say under which names" in said


def test_the_variables_of_the_server_are_those_that_it_reads() -> None:
    section = README.partition("\n## A tracking server\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"\b(?:MLFLOW|DCAL)_[A-Z_]+", section))
    read = {server.DATABASE, server.FILES, server.ALLOWED_HOSTS, "MLFLOW_WORKERS"}
    assert named == {*read, *server.NOT_PASSED_ON}
    assert read <= set(server.build_environment({}, server.Places("d", "f"), ["a.org"]))


def borrow_environment(folder: Path) -> None:
    """Give a clone a .venv that is this environment, marked as made from the clone's lock."""
    (folder / ".venv").mkdir()
    for name in ("bin", "lib"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix, name))
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), folder / ".venv")
    digest = sha256((folder / "requirements.lock").read_bytes()).hexdigest()
    (folder / ".venv" / ".made-from").write_text(f"{digest} {os.path.realpath(folder)}\n")
    # Else make would install the clone into this environment.
    digest = sha256((folder / "pyproject.toml").read_bytes()).hexdigest()
    (folder / ".venv" / ".project-from").write_text(f"{digest}\n")
