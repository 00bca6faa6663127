"""Where the pages of a run go, and what is said where they cannot be made."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipelines import report, report_run
from pipelines.report_run import name_pages, write_pages_of
from pipelines.runs import Run, RunError
from tests.pipelines.scored import make_project

COMMIT = "0123456789" * 4


@dataclass
class Inputs:
    training: None = None
    asks_for_pictures: bool = False


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("bold-finch", "bold-finch"),
        ("origin/main~2", "origin-main-2"),
        ("../../etc/passwd", "etc-passwd"),
        ("@{u}", "u"),
        ("é", "run"),
        # Else the stage's own pages would be written over.
        ("report", "report-01234567"),
        ("02_rollout", "02_rollout-01234567"),
        ("01_tour_of_the_data", "01_tour_of_the_data-01234567"),
    ],
)
def test_a_run_has_pages_of_its_own_below_reports(name: str, stem: str) -> None:
    assert name_pages(name, Run(COMMIT)) == [
        Path(f"reports/{stem}.html"),
        Path(f"reports/{stem}-01_tour_of_the_data.html"),
        Path(f"reports/{stem}-02_rollout.html"),
    ]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project that an earlier run's folder stands for; the current one is another."""
    earlier, here = tmp_path / "earlier", tmp_path / "here"
    earlier.mkdir()
    here.mkdir()
    make_project(earlier, monkeypatch)
    monkeypatch.chdir(here)

    @contextmanager
    def check_out(run: Run):
        yield earlier

    monkeypatch.setattr(report_run, "find_run", lambda name: Run(COMMIT, experiment=name))
    monkeypatch.setattr(report_run, "check_out", check_out)
    return earlier


@pytest.mark.parametrize("change", ["key", "record", "results"])
def test_a_run_of_an_older_version_is_one_sentence_and_leaves_no_page(
    change: str, made: Path
) -> None:
    if change == "key":
        params = yaml.safe_load((made / "params.yaml").read_text())
        params["model"]["top_k"] = params["model"].pop("top_r")
        (made / "params.yaml").write_text(yaml.safe_dump(params))
    elif change == "record":
        (made / "results/train/run.json").write_text("{}")
    with pytest.raises(RunError, match="another version of this project than the code") as caught:
        write_pages_of("bold-finch")
    assert "\n" not in str(caught.value) and "experiment bold-finch" in str(caught.value)
    assert list(Path.cwd().rglob("*")) == []


def test_a_notebook_that_fails_leaves_no_page(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(inputs: object, name: str) -> str:
        raise RuntimeError("a cell failed")

    monkeypatch.setattr(report, "read_inputs", Inputs)
    monkeypatch.setattr(report, "render_report", lambda inputs: "the report")
    monkeypatch.setattr(report, "render_notebook_page", fail)
    with pytest.raises(RuntimeError, match="a cell failed"):
        write_pages_of("bold-finch")
    assert list(Path.cwd().rglob("*")) == []


def test_pages_with_pictures_that_may_not_be_passed_on_are_never_the_stages(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        report,
        "write_pages",
        lambda *pages, asks_for_pictures, **options: (
            asked.append(asks_for_pictures) or names.extend(pages)
        ),
    )
    names: list[Path] = []
    write_pages_of("", asks_for_pictures=True)
    write_pages_of("report", asks_for_pictures=True)
    assert asked == [True, True]
    assert [path.name for path in names] == [
        "workspace-with-pictures.html",
        "workspace-with-pictures-01_tour_of_the_data.html",
        "workspace-with-pictures-02_rollout.html",
        "report-with-pictures.html",
        "report-with-pictures-01_tour_of_the_data.html",
        "report-with-pictures-02_rollout.html",
    ]
