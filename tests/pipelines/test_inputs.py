"""What is edited while a stage runs is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.inputs import read_inputs, require_unchanged
from pipelines.stage import run_stage

PIPELINE = """
vars: [params.yaml]
stages:
  train:
    cmd: "true"
    deps:
      - data/${dataset.name}/index.parquet
      - code
      - data/raw/${dataset.name}
    params: [seed, model, train.epochs]
"""
PARAMS = """
seed: 0
dataset: {name: finches}
model: {top_r: 0.3, blocks: {sa: 12}}
train: {epochs: 3, workers: 0}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text(PARAMS)
    for folder in ("code", "data/finches", "data/raw/finches"):
        Path(folder).mkdir(parents=True)
    Path("code/model.py").write_text("a = 1\n")
    Path("data/finches/index.parquet").write_bytes(b"table")


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("path", "old", "new", "named"),
    [
        ("params.yaml", "0.3", "0.5", r"params.yaml: model.top_r was 0.3 and is 0.5"),
        ("params.yaml", "sa: 12", "sa: 11", r"model.blocks.sa was 12 and is 11"),
        ("params.yaml", "seed: 0", "seed: null", r"seed was 0 and is None"),
        ("params.yaml", "epochs: 3, ", "", r"train.epochs was 3 and is None"),
        ("code/model.py", "1", "2", r": code/model.py; run dvc repro again"),
        ("data/finches/index.parquet", "table", "other", r"data/finches/index.parquet"),
        ("params.yaml", "seed", "\tseed", r"can no longer be read"),
    ],
)
def test_an_edit_of_what_a_stage_reads_is_named(path: str, old: str, new: str, named: str) -> None:
    before = read_inputs("train")
    edit(path, old, new)
    with pytest.raises(RuntimeError, match=rf"stage train is not recorded, because .*{named}"):
        require_unchanged("train", before)


def test_a_new_or_removed_file_is_an_edit() -> None:
    before = read_inputs("train")
    Path("code/new.py").write_text("")
    with pytest.raises(RuntimeError, match="code/new.py"):
        require_unchanged("train", before)
    Path("code/new.py").unlink()
    Path("code/model.py").unlink()
    with pytest.raises(RuntimeError, match="code/model.py"):
        require_unchanged("train", before)


def test_an_edit_of_what_a_stage_does_not_read_is_its_users_business() -> None:
    before = read_inputs("train")
    edit("params.yaml", "workers: 0", "workers: 4")
    edit("params.yaml", "seed: 0", "# A remark.\nseed: 0")
    Path("data/raw/finches/0.png").write_bytes(b"picture")
    require_unchanged("train", before)


def test_without_a_pipeline_nothing_is_recorded_and_nothing_compared() -> None:
    Path("dvc.yaml").unlink()
    assert read_inputs("train") == {}


def test_a_stage_fails_where_its_inputs_were_edited() -> None:
    with pytest.raises(SystemExit, match=r"^error: stage train is not recorded.*top_r was 0.3"):
        run_stage(lambda: edit("params.yaml", "0.3", "0.5"), "train")


OTHER = """
vars: [../params.yaml, choice.yaml]
stages:
  search:
    cmd: "true"
    deps: ["plans/${plan}.yaml"]
    params: [seed, {other/choice.yaml: [plan]}]
"""


@pytest.mark.parametrize(
    ("path", "old", "new", "named"),
    [
        ("params.yaml", "seed: 0", "seed: 1", r"params.yaml: seed was 0 and is 1"),
        ("other/choice.yaml", "plan: a", "plan: b", r"other/choice.yaml: plan was 'a' and is 'b'"),
        ("plans/a.yaml", "low", "high", r"edited while it ran: plans/a.yaml; run it again"),
        ("params.yaml", "epochs: 3", "epochs: 4", None),
    ],
)
def test_a_stage_of_another_pipeline_is_watched_too(
    path: str, old: str, new: str, named: str | None
) -> None:
    pipeline = Path("other/dvc.yaml")
    for name, text in (("other/choice.yaml", "{plan: a}"), ("plans/a.yaml", "low")):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    pipeline.write_text(OTHER)
    before = read_inputs("search", pipeline)
    edit(path, old, new)
    if named is None:
        require_unchanged("search", before, pipeline=pipeline)
        return
    with pytest.raises(RuntimeError, match=named):
        require_unchanged("search", before, pipeline=pipeline, hint="run it again")
