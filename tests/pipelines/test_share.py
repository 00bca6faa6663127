"""Sharing in a project of two quick stages: what is carried, what stays, and each refusal."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from dcal.config import ConfigError
from pipelines import share
from pipelines.compose import write_params
from pipelines.revision import check_out
from pipelines.runs import Run, RunError, find_run
from tests.project import ROOT, Project

DVC_YAML = """\
vars: [params.yaml]
stages:
  fetch:
    cmd: mkdir -p data/raw/birds_smoke && cp drawing.txt data/raw/birds_smoke/a.png
    deps: [drawing.txt]
    params: [dataset.name]
    outs:
      - data/raw/${dataset.name}:
          remote: ${dataset.remote}
  train:
    cmd: mkdir -p runs && cp seed.txt runs/model && mkdir -p results && cp seed.txt results/run.json
    deps: [seed.txt, data/raw/birds_smoke]
    params: [seed]
    outs:
      - runs/model
      - results/run.json:
          cache: false
"""
BY_HAND = """\
stages:
  search:
    wdir: ..
    cmd: cp space.txt best.txt
    deps: [space.txt]
    outs:
      - best.txt
"""


class Shared:
    """A project with results, a folder to share through, and clones of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = folder / "remote"
        self.project = Project(folder / "project")
        self.remote.mkdir()

    def make(self, *changes: str) -> None:
        place = self.project.folder
        (place / ".dvc").mkdir(parents=True)
        for name in (".dvc/config", ".dvc/.gitignore", ".gitignore"):
            shutil.copy(ROOT / name, place / name)
        (place / "dvc.yaml").write_text(DVC_YAML)
        (place / "seed.txt").write_text("a model")
        (place / "drawing.txt").write_text("picture")
        write_params(["preset=smoke", *changes], place / "params.yaml", ROOT / "experiments")
        self.project.run("git", "init", "-q")
        self.project.run("dvc", "repro", "-q")
        self.commit()

    def commit(self) -> None:
        self.project.run("git", "add", "-A")
        self.project.run("git", "commit", "-q", "-m", "Results")

    def clone(self, name: str = "clone") -> Project:
        self.project.run("git", "clone", "-q", ".", str(self.folder / name))
        return Project(self.folder / name)

    def read_remote(self) -> bytes:
        return b"\n".join(p.read_bytes() for p in self.remote.rglob("*") if p.is_file())


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> Shared:
    shared = Shared(tmp_path)
    caplog.set_level(logging.INFO)
    return shared


def test_what_is_shared_arrives_in_a_clone_and_nothing_runs_there(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    share.share(str(shared.remote))
    assert "3 files copied" in caplog.text and f"make receive REMOTE={shared.remote}" in caplog.text
    # The address may be of this machine alone.
    assert shared.project.changed_files() == []
    clone = shared.clone()
    monkeypatch.chdir(clone.folder)
    share.receive(str(shared.remote))
    assert (clone.folder / "data/raw/birds_smoke/a.png").read_text() == "picture"
    assert clone.repro() == []
    assert clone.changed_files() == []
    # The second time both know where.
    share.receive("")
    monkeypatch.chdir(shared.project.folder)
    share.share("")
    assert "0 files copied" in caplog.text


def test_a_pipeline_that_is_run_by_hand_is_neither_missed_nor_waited_for(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    shared.make()
    project = shared.project
    (project.folder / "search").mkdir()
    (project.folder / "search/dvc.yaml").write_text(BY_HAND)
    shared.commit()
    (project.folder / "space.txt").write_text("not committed yet")
    monkeypatch.chdir(project.folder)
    share.share(str(shared.remote))
    assert "3 files copied" in caplog.text and "not up to date" not in caplog.text
    clone = shared.clone()
    monkeypatch.chdir(clone.folder)
    share.receive(str(shared.remote))
    assert "3 files brought" in caplog.text
    assert clone.repro() == []


@pytest.mark.parametrize("cache", ["its own", "elsewhere"])
def test_private_pictures_stay_on_the_machine_whatever_is_pushed(
    cache: str, shared: Shared, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    shared.make("dataset.remote=private")
    run = shared.project.run
    if cache == "elsewhere":
        shutil.move(shared.project.folder / ".dvc/cache", shared.folder / "cache")
        run("dvc", "cache", "dir", "--local", str(shared.folder / "cache"))
        run("dvc", "config", "--local", "cache.type", "symlink")
        run("dvc", "checkout", "-q", "--relink")
    monkeypatch.chdir(shared.project.folder)
    share.share(str(shared.remote))
    assert "kept here, because dataset.remote is private: data/raw/birds_smoke" in caplog.text
    run("dvc", "exp", "run", "-q", "-n", "one", "-S", "seed=1")
    run("git", "init", "-q", "--bare", str(shared.folder / "bare.git"))
    run("git", "remote", "add", "origin", str(shared.folder / "bare.git"))
    for command in (
        ["push"],
        ["push", "-r", "share"],
        ["push", "data/raw/birds_smoke"],
        ["push", "-r", "share", "data/raw/birds_smoke"],
        ["push", "--run-cache"],
        ["push", "--all-commits", "--run-cache", "-r", "share"],
        ["push", "--all-commits"],
        ["exp", "push", "origin", "one"],
    ):
        run("dvc", *command)
    content = shared.read_remote()
    assert b"a model" in content and b"picture" not in content
    assert b"relpath" not in content  # nor a list of them


def test_clearing_remotes_leaves_the_cache_of_a_private_set_whole(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make("dataset.remote=private")
    monkeypatch.chdir(shared.project.folder)
    share.share(str(shared.remote))
    for command in (["push"], ["gc", "--workspace", "--cloud", "--force"]):
        shared.project.run("dvc", *command)
    shutil.rmtree(shared.project.folder / "data")
    (shared.project.folder / "runs/model").unlink()
    shared.project.run("dvc", "checkout")
    assert shared.project.repro() == []


def test_a_set_that_becomes_private_is_not_pushed_again(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    share.share(str(shared.remote))
    assert b"picture" in shared.read_remote()
    second = shared.folder / "second"
    second.mkdir()
    params = shared.project.folder / "params.yaml"
    params.write_text(params.read_text().replace("remote: null", "remote: private"))
    # Not even before anything of ours has looked at the change.
    shared.project.run("dvc", "remote", "modify", "--local", "share", "url", str(second))
    for command in (["push"], ["push", "-r", "share"]):
        shared.project.run("dvc", *command)
    shared.remote = second
    assert b"a model" in shared.read_remote() and b"picture" not in shared.read_remote()


def test_a_clone_is_told_which_pictures_are_not_shared_and_makes_them_itself(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    shared.make("dataset.remote=private")
    monkeypatch.chdir(shared.project.folder)
    share.share(str(shared.remote))
    clone = shared.clone()
    monkeypatch.chdir(clone.folder)
    share.receive(str(shared.remote))
    assert (clone.folder / "runs/model").is_file()
    (said,) = [record.getMessage() for record in caplog.records if "not shared" in record.message]
    assert said.startswith("data/raw/birds_smoke: ") and said.endswith("with: dvc repro")
    assert clone.repro() == ["fetch"]


def test_nothing_is_shared_that_a_clone_would_not_see(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    (shared.project.folder / "notes.txt").write_text("of no stage")
    (shared.project.folder / "seed.txt").write_text("another model")
    shared.project.repro()
    with pytest.raises(share.ShareError, match="not committed, .*: dvc.lock, results/run.json, se"):
        share.share(str(shared.remote))
    assert shared.read_remote() == b""
    shared.commit()
    share.share(str(shared.remote))


def test_stages_that_a_clone_would_run_are_named(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    (shared.project.folder / "seed.txt").write_text("another model")
    shared.commit()
    share.share(str(shared.remote))
    assert "not up to date here, so a clone will run: train" in caplog.text


def test_each_reason_not_to_share_is_one_sentence(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    place = shared.project.folder
    monkeypatch.chdir(place)
    (shared.folder / "file").touch()
    (place / "inside").mkdir()
    (shared.folder / "fär").mkdir()
    for remote, message in {
        "": r"got none; give a folder or an address once: make share REMOTE=/path/to/folder$",
        "private": r"REMOTE=private: expected a place that others reach",
        str(shared.folder / "gone"): r"gone: no such folder; make it first, or give an address",
        str(shared.folder / "file"): r"file: no such folder",
        "inside": r"REMOTE=inside: expected a folder outside this project",
        "/proc": r"REMOTE=/proc: nothing can be written there: ",
        str(shared.folder / "fär"): r"expected an address in ASCII, because DVC cannot write",
        "s3://bucket/x": r"make share: DVC says: s3 is supported, but requires 'dvc-s3' to be inst",
    }.items():
        with pytest.raises(share.ShareError, match=message) as caught:
            share.share(remote)
        assert "\n" not in str(caught.value)
    # A wrong address is not kept, where it would stop all other commands of DVC.
    assert not (place / ".dvc/config.local").exists()


def test_a_data_set_that_names_no_known_place_is_not_shared(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    params = shared.project.folder / "params.yaml"
    params.write_text(params.read_text().replace("remote: null", "remote: elsewhere"))
    with pytest.raises(ConfigError, match=r"dataset\.remote: .*'private'.*; got 'elsewhere'"):
        share.share(str(shared.remote))
    assert shared.read_remote() == b""


def test_with_no_results_there_is_nothing_to_share_or_to_receive(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    (shared.project.folder / "dvc.lock").unlink()
    with pytest.raises(share.ShareError, match="nothing to share: no stage has run here"):
        share.share(str(shared.remote))
    with pytest.raises(share.ShareError, match="nothing to receive: .* no results in dvc.lock"):
        share.receive(str(shared.remote))


def test_what_was_never_shared_is_named(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.make()
    clone = shared.clone()
    monkeypatch.chdir(clone.folder)
    with pytest.raises(
        share.ShareError, match="remote: data/raw/birds_smoke, runs/model: not there; whoever"
    ):
        share.receive(str(shared.remote))
    shutil.rmtree(shared.project.folder / ".dvc/cache")
    monkeypatch.chdir(shared.project.folder)
    with pytest.raises(share.ShareError, match="runs/model: not in the DVC cache; make it again"):
        share.share(str(shared.remote))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://someone:secret@host/a", "https://host/a"),
        ("cannot reach ssh://someone@host:22/a, nor b@c", "cannot reach ssh://host:22/a, nor b@c"),
        ("/a/folder", "/a/folder"),
    ],
)
def test_a_password_in_an_address_is_not_said(text: str, expected: str) -> None:
    assert share.hide_password(text) == expected


def test_an_experiment_is_received_into_the_cache_and_checked_out(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    run = shared.project.run
    (shared.project.folder / "seed.txt").write_text("a better model")
    run("git", "commit", "-qam", "Seed")
    run("dvc", "exp", "run", "-q", "-n", "one", "-S", "seed=1")
    run("git", "init", "-q", "--bare", str(shared.folder / "bare.git"))
    run("git", "remote", "add", "origin", str(shared.folder / "bare.git"))
    run("git", "push", "-q", "origin", "HEAD", "HEAD:refs/heads/main")
    monkeypatch.chdir(shared.project.folder)
    run("git", "stash", "-q")
    share.share(str(shared.remote))
    run("dvc", "exp", "push", "origin", "one")
    run("git", "clone", "-q", str(shared.folder / "bare.git"), str(shared.folder / "clone"))
    clone = Project(shared.folder / "clone")
    clone.run("dvc", "exp", "pull", "--no-cache", "origin", "one")
    monkeypatch.chdir(clone.folder)
    experiment = find_run("one")
    with pytest.raises(RunError, match="experiment one: data/raw/birds_smoke, runs/model: not in"):
        with check_out(experiment):
            pass
    assert list((clone.folder / ".dvc/tmp").glob("run-*")) == []
    share.receive(str(shared.remote), "one")
    with check_out(experiment) as folder:
        assert (folder / "runs/model").read_text() == "a better model"
        assert (folder / "runs/model").stat().st_nlink > 1
        assert "seed: 1" in (folder / "params.yaml").read_text()
    assert not folder.exists()


def test_a_checked_out_run_is_removed_on_an_error_and_after_a_kill(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    parent = shared.project.folder / ".dvc/tmp"
    left = parent / "run-left"
    left.mkdir(parents=True)
    (parent / "run-left.lock").touch()
    run = find_run("HEAD")
    with pytest.raises(ZeroDivisionError):
        with check_out(run) as folder:
            assert not left.exists()
            # Another one at work is left alone.
            with check_out(run) as second:
                assert folder.exists() and second != folder
            raise ZeroDivisionError
    assert list(parent.glob("run-*")) == []


def test_a_commit_without_results_is_one_sentence(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.make()
    monkeypatch.chdir(shared.project.folder)
    (shared.project.folder / "dvc.lock").unlink()
    shared.commit()
    with pytest.raises(RunError, match=r"commit [0-9a-f]{8}: no results are committed there"):
        with check_out(find_run("HEAD")):
            pass
    with check_out(Run(None)) as folder:
        assert folder == Path.cwd()
