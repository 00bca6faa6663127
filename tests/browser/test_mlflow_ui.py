"""The pages of `make ui` on the database of two real runs, used as README says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import expect

from tests.browser.mlflow_pages import Pages, open_runs, read_metric_row, read_widths
from tests.browser.pages import OpenPage
from tests.project import Project

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

EXPERIMENT, SCORE = "birds_smoke", "test/both/top1_accuracy"
RESULTS = "results/evaluate/metrics.json"


class Tracked(NamedTuple):
    """Where MLflow's pages are, and what they must show: by run name, newest first."""

    address: str
    top_r: dict[str, str]
    scores: dict[str, float]


def name_run(top_r: str) -> str:
    return f"r{top_r} seed0 class_local dcal_pico"


@pytest.fixture(scope="module")
def tracked(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracked]:
    """Serve the pages of the finished run and of one with another top_r."""
    folder = tmp_path_factory.mktemp("ui")
    project = finished.copy(folder / "project")
    before = read_score(project)
    project.compose("preset=smoke", "model.top_r=0.5")
    project.repro("rollout")
    scores = {name_run("0.5"): read_score(project), name_run("0.3"): before}
    top_r = {name_run("0.5"): "0.5", name_run("0.3"): "0.3"}
    pages = Pages(project, folder / "ui.log")
    try:
        pages.wait()
        yield Tracked(pages.address, top_r, scores)
    finally:
        pages.stop()


def read_score(project: Project) -> float:
    return float(project.read_json(RESULTS)[SCORE])


def test_the_table_lists_both_runs_by_name_with_the_columns_that_matter(
    tracked: Tracked, open_page: OpenPage
) -> None:
    opened = open_runs(open_page, tracked.address, EXPERIMENT)
    page = opened.page
    page.get_by_role("button", name="Views").click()
    page.get_by_text("Scores", exact=True).click()
    for column in (SCORE, "test/sa/top1_accuracy", "model.top_r", "seed", "train.epochs"):
        expect(page.get_by_role("columnheader").get_by_text(column, exact=True)).to_be_visible()
    for column in ("Dataset", "Source", "Models", "test/both/mean_ap"):
        expect(page.get_by_role("columnheader").get_by_text(column, exact=True)).to_have_count(0)
    for name, top_r in tracked.top_r.items():
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name))
        # The names and the other columns are two tables, whose rows have one index.
        cells = page.locator(f"[role=row][row-index='{row.get_attribute('row-index')}']")
        expect(cells.locator("[col-id='params.`model.top_r`']")).to_have_text(top_r)
        score = cells.locator(f"[col-id='metrics.`{SCORE}`']").inner_text()
        assert float(score) == pytest.approx(tracked.scores[name])
    assert all(address.startswith((tracked.address, "data:")) for address in opened.requests)


def test_two_runs_are_compared_by_score_difference_and_overlay(
    tracked: Tracked, open_page: OpenPage
) -> None:
    page = open_runs(open_page, tracked.address, EXPERIMENT).page
    page.get_by_role("checkbox", name="Select all runs").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Comparing 2 Runs")).to_be_visible()
    names = page.get_by_role("row", name=re.compile("^Run Name:")).get_by_role("cell")
    expect(names).to_have_text(list(tracked.scores))
    shown = read_metric_row(page, SCORE)
    assert shown == pytest.approx(list(tracked.scores.values()), abs=5e-4)

    page.get_by_role("switch", name="Parameters - Show diff only").click()
    expect(page.get_by_role("row", name=re.compile("^seed "))).to_have_count(0)
    differing = page.get_by_role("row", name=re.compile("^model.top_r "))
    expect(differing.get_by_role("cell")).to_have_text(list(tracked.top_r.values()))

    # Chromium 156 gives MLflow's list of files no width, so that no pointer reaches it.
    page.get_by_text("overlays.png", exact=True).dispatch_event("click")
    assert min(read_widths(page, "overlays.png", count=2)) > 300


def test_an_overlay_and_the_description_of_a_run_open(
    tracked: Tracked, open_page: OpenPage
) -> None:
    page = open_runs(open_page, tracked.address, EXPERIMENT).page
    newest = next(iter(tracked.scores))
    page.get_by_role("link", name=newest).click()
    score = tracked.scores[newest]
    expect(page.get_by_text(f"top-1 accuracy {score:.3f} on test by both")).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("rollout", exact=True).click()
    page.get_by_text("00.png", exact=True).click()
    assert min(read_widths(page, "00.png", count=1)) > 300


def test_the_curves_of_both_runs_overlay(tracked: Tracked, open_page: OpenPage) -> None:
    page = open_runs(open_page, tracked.address, EXPERIMENT).page
    page.locator("label", has=page.locator("input[value=CHART]")).click()
    page.get_by_placeholder("Search metric charts").fill("train/sa/loss")
    page.wait_for_function(
        """count => {
            const plots = [...document.querySelectorAll('.js-plotly-plot')]
            return plots.length === 1 && new Set(plots[0].data.map(line => line.name)).size >= count
        }""",
        arg=len(tracked.scores),
    )
    lines: list[dict[str, Any]] = page.locator(".js-plotly-plot").evaluate(
        "plot => plot.data.map(line => ({name: line.name, x: [...line.x], y: [...line.y]}))"
    )
    assert {line["name"] for line in lines} == set(tracked.scores)
    assert len({tuple(line["x"]) for line in lines}) == 1 and len(lines[0]["x"]) > 2
    assert len({tuple(line["y"]) for line in lines}) == 2
