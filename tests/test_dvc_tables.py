"""README's comparison of runs by DVC's own commands: what a user sees is short and labelled."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.experiments import COMPARE
from tests.project import Project

pytestmark = pytest.mark.slow
RUNS = ("HEAD", "top-r-1", "top-r-2")
SCORES = [f"test/{branch}/top1_accuracy" for branch in ("both", "glca", "sa")]


@pytest.fixture(scope="module")
def compared(experimented: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project in which README's queue of two runs was worked off; only read it."""
    return experimented.copy(tmp_path_factory.mktemp("compared") / "project")


def compare(project: Project, start: str) -> list[str]:
    """Run the one command of README that starts so, and return its lines without rules."""
    (command,) = [command for command in COMPARE if command.startswith(start)]
    lines = project.run(*shlex.split(command)).splitlines()
    assert max(map(len, lines)) <= 120
    return [line.strip() for line in lines if line.strip(" \N{BOX DRAWINGS LIGHT HORIZONTAL}")]


def split(line: str) -> list[str]:
    return re.split(r"\s{2,}", line)


def test_runs_are_rows_with_their_scores_and_the_setting_that_changed(compared: Project) -> None:
    head, *rows = map(split, compare(compared, "dvc exp show"))
    assert head == ["Experiment", *SCORES, "model.top_r"]
    assert sorted(row[-1] for row in rows) == ["0.2", "0.3", "0.3", "0.5"]
    scores = compared.read_json("results/evaluate/metrics.json")
    (own,) = [row for row in rows if row[0] == "workspace"]
    assert [float(cell) for cell in own[1:4]] == pytest.approx(
        [scores[name] for name in SCORES], abs=1e-4
    )


def test_differences_are_those_of_the_test_split_and_of_one_setting(compared: Project) -> None:
    head, *rows = map(split, compare(compared, "dvc metrics diff --all"))
    assert head == ["Metric", "HEAD", "top-r-1", "Change"]
    assert len(rows) == 12 and all(row[0].startswith("test/") for row in rows)
    assert set(SCORES) < {row[0] for row in rows}
    head, *rows = map(split, compare(compared, "dvc params diff"))
    assert rows == [["params.yaml", "model.top_r", "0.3", "0.2"]]


def test_the_scores_of_where_it_looks_are_compared_where_they_are_asked_for(
    compared: Project,
) -> None:
    _, *rows = map(split, compare(compared, "dvc metrics diff --no-path --targets"))
    assert "test/selection/parts_chosen" in {row[0] for row in rows} and len(rows) <= 12


def test_plots_have_titles_axes_and_a_line_a_run(compared: Project) -> None:
    (said,) = compare(compared, "dvc plots diff")
    assert said.startswith("file://")  # and not a warning
    page = (compared.folder / "dvc_plots/index.html").read_text(encoding="utf-8")
    plots = [json.JSONDecoder().raw_decode(page, at.end())[0] for at in find_plots(page)]
    assert len(plots) == 2 and "DVC_METRIC" not in page
    for plot in plots:
        assert plot["title"]["text"]
        assert {row["rev"] for row in plot["data"]["values"]} == set(RUNS)
    assert '"title": "epoch"' in page and '"title": "score"' in page
    assert '"title": "step"' in page and '"title": "loss"' in page


def test_the_report_compares_the_runs_of_experiments(compared: Project) -> None:
    # As make report RUN=top-r-2 LAST=2 does.
    compared.run("python", "-m", "pipelines.report_run", "top-r-2", "--last", "2")
    page = (compared.folder / "reports/top-r-2.html").read_text(encoding="utf-8")
    section = page.partition('id="compared"')[2].partition("</section>")[0]
    names = re.findall(r'<th scope="row">([^<]+)<span', section)
    # Its own, and those before it, the newest first.
    baseline = compared.read_json("results/train/run.json")["fingerprint"]
    assert names == ["top-r-2", "top-r-1", baseline]
    assert re.findall(r"<code>model.top_r</code> (\S+) &rarr; (\S+)</span>", section) == [
        ("0.2", "0.5"),
        ("0.3", "0.5"),
    ]


def find_plots(page: str) -> list[re.Match[str]]:
    return list(re.finditer(r"var spec = ", page))


@pytest.mark.parametrize("kind", ["finished", "finished_reid"])
def test_the_plot_of_val_finds_the_score_of_either_kind(
    kind: str, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(kind)
    history = pd.read_csv(project.folder / "results/train/history.csv")
    transforms = read_template(project.folder)["transform"]
    (score,) = [entry["calculate"] for entry in transforms if entry.get("as") == "score"]
    found = [name for name in re.findall(r"datum\['(.*?)'\]", score) if name in history]
    assert {name.split("/")[1] for name in found} == {"both", "sa"}
    assert history[found].notna().any().all()


def read_template(folder: Path) -> dict[str, Any]:
    path = folder / ".dvc/plots/validation_score.json"
    template: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return template
