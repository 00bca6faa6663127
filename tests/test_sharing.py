"""Results passed on to a colleague's clone, and pages of any run, on the smoke pipeline."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.project import Project, find_stages

pytestmark = pytest.mark.slow


class Team:
    """A project with committed results, a bare repository, and a folder to share through."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.folder = folder
        self.remote, self.bare = folder / "remote", folder / "bare.git"
        self.remote.mkdir(parents=True)
        self.mine = project
        run = self.mine.run
        run("git", "init", "-q", "--bare", "-b", "main", str(self.bare))
        run("git", "remote", "add", "origin", str(self.bare))
        run("git", "push", "-q", "origin", "HEAD:refs/heads/main")

    def share(self) -> str:
        return self.mine.run("python", "-m", "pipelines.share", "push", str(self.remote))

    def clone(self) -> Project:
        self.mine.run("git", "clone", "-q", str(self.bare), str(self.folder / "theirs"))
        return Project(self.folder / "theirs")

    def receive(self, theirs: Project) -> str:
        return theirs.run("python", "-m", "pipelines.share", "pull", str(self.remote))


@pytest.fixture(scope="module")
def team(experimented: Project, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Return a team whose results and one experiment were shared; only `mine` may be read."""
    folder = tmp_path_factory.mktemp("team")
    team = Team(experimented.copy(folder / "mine"), folder)
    said = team.share()
    assert "kept here" not in said and "not up to date" not in said
    run = team.mine.run
    run("dvc", "exp", "remove", "top-r-1")
    run("dvc", "exp", "rename", "top-r-2", "bold-finch")
    run("dvc", "exp", "push", "origin", "bold-finch")
    return team


@pytest.fixture
def theirs(team: Team) -> Iterator[Project]:
    """Return a colleague's fresh clone that received what was shared."""
    theirs = team.clone()
    assert "not shared" not in team.receive(theirs)
    yield theirs
    shutil.rmtree(theirs.folder)


def test_a_received_clone_has_everything_and_repro_does_nothing(
    theirs: Project, finished: Project
) -> None:
    said = theirs.run("dvc", "repro")
    assert find_stages(said) == [] and "Data and pipelines are up to date." in said
    assert theirs.changed_files() == []
    pages = ("report", "01_tour_of_the_data", "02_rollout")
    paths = (*(f"reports/{page}.html" for page in pages), "runs/train/model.safetensors")
    for path in paths:
        assert (theirs.folder / path).read_bytes() == (finished.folder / path).read_bytes()


def test_an_experiment_is_pulled_and_applied_and_repro_does_nothing(theirs: Project) -> None:
    theirs.run("dvc", "exp", "pull", "origin", "bold-finch")
    theirs.run("dvc", "exp", "apply", "bold-finch")
    assert "top_r: 0.5" in (theirs.folder / "params.yaml").read_text()
    assert theirs.repro() == []


def find_commit(project: Project) -> str:
    refs = project.run("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    (line,) = [line for line in refs.splitlines() if line.endswith("/bold-finch")]
    return line.split()[0]


def report_on(project: Project, name: str, succeeds: bool = True) -> str:
    return project.run("python", "-m", "pipelines.report_run", name, succeeds=succeeds)


def test_any_run_has_its_pages_and_the_workspace_stays_as_it_is(team: Team) -> None:
    project = team.mine
    report_on(project, "bold-finch")
    page = (project.folder / "reports/bold-finch.html").read_text(encoding="utf-8")
    assert "top_r: 0.5" in page and "top_r: 0.3" not in page
    notebook_page = (project.folder / "reports/bold-finch-02_rollout.html").read_text()
    fingerprint = page.partition(">run ")[2][:12]
    assert fingerprint in notebook_page
    # Its own page is made anew, so nobody has to have received that.
    lock = yaml.safe_load(project.run("git", "show", f"{find_commit(project)}:dvc.lock"))
    (md5,) = [
        out["md5"] for out in lock["stages"]["report"]["outs"] if "report.html" in out["path"]
    ]
    (project.folder / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}").unlink()
    report_on(project, fingerprint[:8])
    again = project.folder / f"reports/{fingerprint[:8]}.html"
    assert again.read_text(encoding="utf-8") == page
    assert project.changed_files() == []
    assert project.repro() == []
    assert list((project.folder / ".dvc/tmp").glob("run-*")) == []


def test_an_unknown_run_is_one_sentence_that_names_the_nearest(team: Team) -> None:
    said = report_on(team.mine, "bold-fnch", succeeds=False)
    (line,) = said.strip().splitlines()
    assert line.startswith("error: RUN=bold-fnch: ") and "the nearest: bold-finch" in line
    assert "recent runs: experiment bold-finch (run " in line


def test_a_run_whose_files_were_not_received_is_brought_by_its_name(
    team: Team, theirs: Project
) -> None:
    theirs.run("git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    said = report_on(theirs, "bold-finch", succeeds=False)
    assert "runs/train/model.safetensors: not in the DVC cache" in said
    assert "make receive REMOTE=... RUN=bold-finch" in said
    theirs.run("python", "-m", "pipelines.share", "pull", "--run", "bold-finch")
    report_on(theirs, "bold-finch")
    for name in ("", "-01_tour_of_the_data", "-02_rollout"):
        assert (theirs.folder / f"reports/bold-finch{name}.html").is_file()


def test_the_pages_are_the_same_bytes_each_time(team: Team) -> None:
    names = ("report", "01_tour_of_the_data", "02_rollout")
    pages = [team.mine.folder / f"reports/{name}.html" for name in names]
    before = [page.read_bytes() for page in pages]
    report_on(team.mine, "")
    assert [page.read_bytes() for page in pages] == before


def test_a_report_that_is_stopped_leaves_nothing_behind(team: Team) -> None:
    parent = team.mine.folder / ".dvc/tmp"
    command = [sys.executable, "-m", "pipelines.report_run", "bold-finch"]
    own = team.mine.read_json("results/train/run.json")["run_id"]
    for how in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(command, cwd=team.mine.folder, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(parent.glob("run-*/runs")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(parent.glob("run-*/runs"))
        process.send_signal(how)
        process.wait(timeout=60)
        if how == signal.SIGKILL:
            report_on(team.mine, own[:6])  # the next one clears up
        assert list(parent.glob("run-*")) == []
    page = team.mine.folder / f"reports/{own[:6]}.html"
    assert "top_r: 0.3" in page.read_text(encoding="utf-8")


PUSHES = [
    ["dvc", "push"],
    ["dvc", "push", "-r", "share"],
    ["dvc", "push", "--all-commits", "--run-cache"],
    ["dvc", "push", "--all-commits", "-r", "share"],
    ["dvc", "exp", "push", "origin", "bold-finch"],
]


def test_pictures_that_may_not_be_passed_on_never_leave_and_a_clone_makes_them_anew(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "mine")
    project.compose("preset=smoke", "dataset.remote=private")
    project.repro()
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "Results")
    team = Team(project, tmp_path)
    said = team.share()
    assert "dataset.remote is private: data/raw/birds_smoke, runs/rollout" in said
    # The stage whose pictures are new is enough.
    change = ("-S", "rollout.num_images=3")
    team.mine.run("dvc", "exp", "run", "-n", "bold-finch", *change, "rollout")
    team.mine.run("git", "checkout", "-q", "--", ".")
    for command in PUSHES:
        team.mine.run(*command)
    team.mine.run("dvc", "checkout", "-q")
    assert find_leaks(team.mine.folder, team.remote) == []
    theirs = team.clone()
    said = team.receive(theirs)
    assert "data/raw/birds_smoke, runs/rollout: not shared" in said
    assert "make them here with: dvc repro" in said
    assert find_stages(theirs.run("dvc", "repro")) == ["fetch", "rollout"]
    assert find_stages(theirs.run("dvc", "repro")) == []


def find_leaks(project: Path, remote: Path) -> list[str]:
    """Return the pictures and overlays whose bytes are somewhere in the remote."""
    content = b"\n".join(path.read_bytes() for path in remote.rglob("*") if path.is_file())
    assert len(content) > 1_000_000  # the model is there
    pictures = [
        path
        for folder in ("data/raw", "runs/rollout")
        for path in (project / folder).rglob("*")
        if path.suffix in {".png", ".webp", ".jpg"}
    ]
    assert len(pictures) > 50
    return [path.name for path in pictures if path.read_bytes() in content]
