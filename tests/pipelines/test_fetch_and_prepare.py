"""The first two stages from a params.yaml alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dcal.config import Config
from dcal.data.datamodule import open_pictures
from dcal.paths import cached_root
from pipelines import fetch, prepare
from tests.data.factory import make_config, write_folder, write_tar

COUNTS = {"train": {"a": 4, "b": 4}, "test": {"a": 2, "b": 2}}


def write_params(project: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    project.mkdir()
    monkeypatch.chdir(project)
    tree = config.model_dump(mode="json")
    (project / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_pictures_of_a_user_become_an_index_that_names_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = write_folder(tmp_path / "pictures", COUNTS)
    if kind == "archive":
        source = write_tar(tmp_path / "pictures.tar", source)
    config = make_config(dataset={"source": str(source)})
    write_params(tmp_path / "project", config, monkeypatch)

    fetch.main()
    prepare.main()

    pictures = open_pictures(config.dataset)
    assert pictures.report.counts == {"train": 6, "val": 2, "test": 4}
    assert all((pictures.root / path).is_file() for path in pictures.table["path"])
    for path in Path("data/index").rglob("*.*"):
        assert str(tmp_path).encode() not in path.read_bytes()


def test_prepare_resizes_pictures_once_where_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_folder(tmp_path / "pictures", COUNTS)
    cache = {"resize": [20, 28], "interpolation": "bicubic"}
    config = make_config(dataset={"source": str(source), "cache": cache})
    write_params(tmp_path / "project", config, monkeypatch)
    fetch.main()
    caplog.set_level("INFO")
    for said in ("pictures resized", "pictures are up to date"):
        prepare.main()
        assert caplog.messages[-1] == f"{cached_root() / 'mine'}: {said}"
    assert open_pictures(config.dataset).cache is not None
    assert [path.name for path in Path("data/index/mine").iterdir()].count("pixels.bin") == 0


def test_preparing_does_without_torch_which_takes_more_memory_than_a_large_index() -> None:
    code = "import sys, pipelines.prepare; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
