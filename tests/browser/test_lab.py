"""What `make lab` starts, seen in a browser: five notebooks, of which one is run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.pages import OpenPage
from tests.project import ROOT, Project

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.py"))
RUN, ANSWER = "02_rollout.py", re.compile(r"lies on the parts at \d of 6 blocks")
CLOSED = "03_pwca_as_regulariser.py"
PATIENCE = 120_000  # milliseconds, beside other tests


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


@pytest.fixture
def address(project: Project, tmp_path: Path) -> Iterator[str]:
    """Start what the Makefile does, as a user without settings of his own; return its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    (tmp_path / "home").mkdir()
    server = subprocess.Popen(
        read_recipe("lab", PORT=port, ARGS="--no-browser"),
        cwd=project.folder,
        env=project.environment() | {"HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield read_address(server)
    finally:
        # Its kernels are sessions of their own, which it ends when it is asked to.
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            raise


def read_recipe(target: str, **variables: str) -> list[str]:
    """Return the one command of a target of the Makefile, with values for its variables."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    (head,) = [line for line in lines if line.startswith(f"{target}: setup")]
    recipe = lines[lines.index(head) + 1].removeprefix("\t@")
    for name, value in variables.items():
        recipe = recipe.replace(f"$({name})", value)
    return shlex.split(recipe)


def read_address(server: subprocess.Popen[str]) -> str:
    """Return the address with its token, which a user without a browser here would copy."""
    said = []
    assert server.stdout is not None
    for line in server.stdout:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+/\S*token=\w+", line):
            assert "Traceback" not in "".join(said)
            return found[0]
    raise AssertionError("".join(said))


def read_question(name: str) -> str:
    """Return the headline of a notebook."""
    first: str = jupytext.read(ROOT / "notebooks" / name).cells[0].source
    return first.splitlines()[0].removeprefix("# ")


def find_tab(page: Page, name: str) -> Locator:
    return page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=name)


def show(page: Page, name: str) -> Locator:
    """Bring a notebook to the front; return its panel, once it shows its question."""
    find_tab(page, name).click()
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    expect(panel.locator("h1").first).to_contain_text(read_question(name), timeout=PATIENCE)
    return panel


def test_every_notebook_opens_as_one_and_one_runs_to_its_answer(
    address: str, open_page: OpenPage, project: Project
) -> None:
    before = project.changed_files()
    opened = open_page(address, width=1500, height=1000)
    page = opened.page
    tabs = page.locator("#jp-main-dock-panel .lm-TabBar-tabLabel")
    expect(tabs).to_have_text(NOTEBOOKS, timeout=PATIENCE)
    assert len(NOTEBOOKS) == 5
    for name in NOTEBOOKS:
        show(page, name)
    open_by_double_click(page, CLOSED)
    panel = show(page, RUN)
    run_all(page, panel)
    expect(panel.locator("strong", has_text=ANSWER)).to_be_visible(timeout=PATIENCE)
    pictures = panel.locator(".jp-OutputArea-output img")
    expect(pictures).to_have_count(2)
    widths = [picture.evaluate("picture => picture.naturalWidth") for picture in pictures.all()]
    assert min(widths) > 300
    errors = ".jp-OutputArea-output:is([data-mime-type$='.error'], [data-mime-type$='.stderr'])"
    expect(panel.locator(errors)).to_have_count(0)
    save(page)
    # The outputs stay in the lab: a percent file holds what was written by hand.
    for name in NOTEBOOKS:
        own = (project.folder / "notebooks" / name).read_text()
        assert own == (ROOT / "notebooks" / name).read_text()
    assert project.changed_files() == before
    assert opened.errors == []


def open_by_double_click(page: Page, name: str) -> None:
    """Close a notebook, and open it again from the list of files."""
    find_tab(page, name).locator(".lm-TabBar-tabCloseIcon").click()
    discard = page.get_by_role("button", name="Discard")
    expect(find_tab(page, name).or_(discard).first).to_be_visible()
    if discard.is_visible():
        discard.click()
    expect(find_tab(page, name)).to_have_count(0)
    page.locator(".jp-DirListing-item", has_text=name).dblclick()
    show(page, name)


def run_all(page: Page, panel: Locator) -> None:
    """Run every cell once a kernel waits for them."""
    expect(panel.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute(
        "data-status", "idle", timeout=PATIENCE
    )
    page.get_by_role("menubar").get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def save(page: Page) -> None:
    """Save the notebook in front, and wait until it has nothing left to save."""
    page.keyboard.press("Control+s")
    expect(page.locator("#jp-main-dock-panel .lm-mod-current.jp-mod-dirty")).to_have_count(0)
