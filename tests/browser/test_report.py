"""The pages of real runs as a colleague opens them: phone and desk, light and dark, printed."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.browser.pages import Opened, OpenPage
from tests.project import Project

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PAGES = ("report", "01_tour_of_the_data", "02_rollout", "03_pwca_as_regulariser", "05_ablations")
A4 = 718  # pixels between margins of 14 mm, and so the width that a printed page is laid out for

BROKEN = """() => [...document.images]
  .filter(image => !image.complete || !image.naturalWidth).map(image => image.alt)"""
WITHOUT_WORDS = """() => [
  ...[...document.images].filter(image => !image.alt.trim()),
  ...[...document.querySelectorAll("svg")].filter(svg => !svg.getAttribute("aria-label")),
].length"""
# What scrolls within its card may be wider than the page.
STICKING_OUT = """() => {
  const right = document.documentElement.clientWidth
  return [...document.querySelectorAll("body *")]
    .filter(element => !element.closest(".scroll, pre, .dense, .output_area, svg"))
    .filter(element => element.getBoundingClientRect().right > right + 1)
    .map(element => element.outerHTML.slice(0, 120))
}"""
# WCAG's contrast of the text of each element that has some, against what lies behind it.
LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true})
  const parse = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const light = ([red, green, blue]) => [red, green, blue]
    .map(value => value / 255)
    .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0)
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor)
      if (colour[3] > 250) return colour
    }
    return [255, 255, 255]
  }
  const hasText = element => [...element.childNodes]
    .some(node => node.nodeType === 3 && node.data.trim())
  return [...document.querySelectorAll("main *, header *, footer *")]
    .filter(element => !element.closest("svg") && element.offsetParent && hasText(element))
    .map(element => {
      const pair = [light(parse(getComputedStyle(element).color)), light(ground(element))]
      const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)
      return [ratio.toFixed(2), element.textContent.trim().slice(0, 60)]
    })
    .filter(([ratio]) => ratio < 4.5)
}"""


@pytest.fixture(scope="module", params=["finished", "finished_reid"])
def folder(request: pytest.FixtureRequest) -> Path:
    """Return the pages of a run that tells classes apart, and of one that ranks."""
    project: Project = request.getfixturevalue(request.param)
    return project.folder / "reports"


def load_all(opened: Opened) -> None:
    """Wait until every picture has been decoded, or has failed to."""
    opened.page.evaluate("() => Promise.allSettled([...document.images].map(i => i.decode()))")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_at_every_width(
    name: str, width: int, folder: Path, open_page: OpenPage
) -> None:
    address = (folder / f"{name}.html").as_uri()
    opened = open_page(address, width=width)
    load_all(opened)
    page = opened.page
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [address]
    assert page.evaluate(BROKEN) == []
    assert page.evaluate(WITHOUT_WORDS) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(STICKING_OUT) == []
    if name == "report":
        assert page.evaluate("document.images.length") > 2


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["report", "02_rollout"])
def test_all_text_can_be_read_in_light_and_in_dark(
    name: str, is_dark: bool, folder: Path, open_page: OpenPage
) -> None:
    opened = open_page((folder / f"{name}.html").as_uri(), is_dark=is_dark)
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(level) for level in re.findall(r"\d+", ground)]
    assert max(levels) < 60 if is_dark else min(levels) > 230
    assert opened.page.evaluate(LOW_CONTRAST) == []


def test_a_printed_report_holds_what_a_click_would_open(folder: Path, open_page: OpenPage) -> None:
    opened = open_page((folder / "report.html").as_uri(), width=A4, is_dark=True)
    page = opened.page
    assert page.locator("details pre").first.is_hidden()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details pre").first.is_visible()
    assert page.locator("nav").is_hidden() and page.locator(".csv").first.is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= A4
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_click_saves_the_numbers_of_a_figure(folder: Path, open_page: OpenPage) -> None:
    opened = open_page((folder / "report.html").as_uri())
    is_reid = opened.page.locator("#lists").count() == 1
    link, source = ("identities", "per_class") if is_reid else ("classes", "per_class")
    with opened.page.expect_download() as waiting:
        opened.page.get_by_role("link", name=f"{link}.csv", exact=True).click()
    assert waiting.value.suggested_filename == f"{link}.csv"
    saved = pd.read_csv(waiting.value.path())
    expected = pd.read_csv(folder.parent / f"results/evaluate/{source}.csv")
    pd.testing.assert_frame_equal(saved, expected, check_exact=False)
