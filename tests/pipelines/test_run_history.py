"""The last runs are those whose commits hold results that belong together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcal.tracking import RunRecord
from dcal.visual.report import PastRun
from pipelines.run_history import LOCK, METRICS, MODEL, find_past_runs
from pipelines.runs import RECORD
from tests.project import Project
from tests.visual.fixtures import make_record

SCORE = "test/both/top1_accuracy"


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class Repository:
    """A project whose commits hold what the stages leave."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.project = Project(folder)
        self.project.run("git", "init", "-q", "-b", "main")

    def write(self, path: str, text: str) -> None:
        place = self.project.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def train(self, day: int, *, top_r: float, name: str = "birds", tracked: bool = True) -> None:
        """Leave a run of that day and its dvc.lock, without committing them."""
        record = make_record().model_dump(mode="json") | {
            "run_id": f"{day:032x}" if tracked else None,
            "fingerprint": f"{day:012x}",
            "started": f"2026-01-{day:02d}T00:00:00+00:00",
            "dataset": {"name": name, "digest": "5f" * 32},
        }
        texts = {RECORD: json.dumps(record), METRICS: json.dumps({SCORE: day / 100})}
        for path, text in texts.items():
            self.write(path, text)
        outs = [{"path": path, "md5": md5(text)} for path, text in texts.items()]
        model = {"path": MODEL, "md5": f"{day:032x}"}
        params = {"seed": 0, "train.lr": 0.001, "model": {"top_r": top_r, "stride": None}}
        stages = {
            "train": {"outs": [outs[0], model], "params": {"params.yaml": params}},
            "evaluate": {"deps": [model], "outs": [outs[1]]},
        }
        self.write(LOCK, yaml.safe_dump({"stages": stages}))

    def commit(self) -> str:
        self.project.run("git", "add", "-A")
        self.project.run("git", "commit", "-qm", "Results")
        return self.project.run("git", "rev-parse", "HEAD").strip()

    def find(self, **options: Any) -> list[PastRun]:
        text = (self.project.folder / RECORD).read_text()
        return find_past_runs(RunRecord.model_validate_json(text), **options)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "project")
    monkeypatch.chdir(made.project.folder)
    return made


def test_the_newest_runs_of_the_data_set_come_with_what_they_ran_with(
    repository: Repository,
) -> None:
    repository.train(1, top_r=0.1)
    repository.commit()
    repository.train(3, top_r=0.3)
    repository.commit()
    repository.train(2, top_r=0.2)  # an older run that came later, such as by a merge
    repository.commit()
    repository.train(4, top_r=0.4, name="cars")
    repository.commit()
    repository.train(5, top_r=0.5)
    found = repository.find()
    assert [run.fingerprint for run in found] == [f"{day:012x}" for day in (3, 2, 1)]
    assert found[0].metrics == {SCORE: 0.03}
    assert found[0].params == {
        "seed": "0",
        "train.lr": "0.001",
        "model.top_r": "0.3",
        "model.stride": "None",
    }
    assert [run.fingerprint for run in repository.find(num=1)] == [f"{3:012x}"]
    repository.commit()  # the current run in git is still the current one
    assert len(repository.find()) == 3


def test_experiments_of_dvc_count_and_have_their_names(repository: Repository) -> None:
    repository.train(1, top_r=0.1)
    baseline = repository.commit()
    repository.train(2, top_r=0.2)
    experiment = repository.commit()
    ref = f"refs/exps/{baseline[:2]}/{baseline[2:]}/bold-finch"
    repository.project.run("git", "update-ref", ref, experiment)
    repository.project.run("git", "reset", "-q", "--hard", baseline)
    assert repository.find() == []  # later than the baseline
    repository.train(3, top_r=0.3)
    run, _ = repository.find()
    assert (run.experiment, run.params["model.top_r"]) == ("bold-finch", "0.2")


def test_a_run_that_was_scored_twice_is_told_by_its_newest_commit(repository: Repository) -> None:
    repository.train(1, top_r=0.1)
    repository.commit()
    text = json.dumps({SCORE: 0.5})
    lock = yaml.safe_load((repository.project.folder / LOCK).read_text())
    lock["stages"]["evaluate"]["outs"][0]["md5"] = md5(text)
    repository.write(METRICS, text)
    repository.write(LOCK, yaml.safe_dump(lock))
    repository.commit()
    repository.train(2, top_r=0.2)
    assert [run.metrics[SCORE] for run in repository.find()] == [0.5]


@pytest.mark.parametrize("what", ["metrics", "record", "model", "no_lock", "no_metrics", "lock"])
def test_files_that_do_not_belong_together_are_no_run(what: str, repository: Repository) -> None:
    repository.train(1, top_r=0.1)
    folder = repository.project.folder
    if what == "metrics":
        repository.write(METRICS, json.dumps({SCORE: 1.0}))
    elif what == "record":
        repository.write(RECORD, (folder / RECORD).read_text() + "\n")
    elif what == "model":
        text = (folder / LOCK).read_text()
        lock = yaml.safe_load(text)
        lock["stages"]["evaluate"]["deps"] = [{"path": MODEL, "md5": "f" * 32}]
        repository.write(LOCK, yaml.safe_dump(lock))
    elif what == "lock":
        repository.write(LOCK, "stages: [\n")
    else:
        (folder / (LOCK if what == "no_lock" else METRICS)).unlink()
    repository.commit()
    repository.train(2, top_r=0.2)
    assert repository.find() == []


def test_runs_that_mlflow_never_saw_are_told_apart_by_their_fingerprints(
    repository: Repository,
) -> None:
    repository.train(1, top_r=0.1, tracked=False)
    repository.commit()
    repository.train(2, top_r=0.2, tracked=False)
    repository.commit()
    assert [run.fingerprint for run in repository.find()] == [f"{1:012x}"]


def test_a_folder_that_is_not_under_git_holds_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_past_runs(make_record()) == []
