"""MLflow's pages as `make ui` serves them, and the way to their table of runs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.pages import Opened, OpenPage
from tests.project import ROOT, Project

START_SECONDS = 120
PATIENCE = 30_000  # milliseconds that a page may take


class Pages:
    """The recipe of `make ui` in a project, on a port of its own; the environment is made."""

    def __init__(self, project: Project, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        self._log = log
        with open(log, "wb") as stream:
            self._process = subprocess.Popen(
                ["bash", "-eu", "-o", "pipefail", "-c", read_recipe(self.port, project.folder)],
                cwd=project.folder,
                env=project.environment(),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until the pages are served."""
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < end, self._log.read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        """End the server with all processes that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def read_recipe(port: int, folder: Path) -> str:
    """Return what `make ui PORT=...` runs in a project's folder once the environment is made."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nui: setup")[2]
    lines = text.partition("\n")[2].partition("\n\n")[0]
    values = {"PORT": str(port), "WORK_ROOT": str(folder), "ARGS": ""}
    recipe = re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], lines)
    return re.sub(r"^\t@?", "", recipe, flags=re.MULTILINE).replace("$$", "$")


def open_runs(open_page: OpenPage, address: str, experiment: str) -> Opened:
    """Go from the first page to the runs of an experiment, as README says."""
    opened = open_page(address)
    page = opened.page
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.get_by_text("Model training", exact=True).click()
    page.get_by_role("link", name=experiment, exact=True).click()
    # The assistant opens by itself at the first visit.
    page.get_by_role("button", name="Close", exact=True).click()
    return opened


def read_metric_row(page: Page, key: str) -> list[float]:
    """Return a metric's values on the page that compares runs, in the order of its columns.

    That table is drawn as two grids, whose cells of a row share nothing but their height.
    """
    cell = page.get_by_role("link", name=key, exact=True)
    cell.wait_for()
    texts: list[str] = cell.evaluate(
        """link => {
            const top = link.parentElement.style.top
            const table = link.closest('.ReactVirtualized__Grid').parentElement.parentElement
            const cells = [...table.querySelectorAll('[role=rowgroup] > div')]
            return cells.filter(cell => cell.style.top === top && !cell.contains(link))
                .sort((a, b) => parseFloat(a.style.left) - parseFloat(b.style.left))
                .map(cell => cell.innerText)
        }"""
    )
    return [float(text) for text in texts]


def read_widths(page: Page, name: str, *, count: int) -> list[int]:
    """Return the widths, in pixels of the files, of so many pictures of a name once loaded."""
    pictures = page.get_by_role("img", name=name)
    expect(pictures).to_have_count(count)
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    widths: list[int] = pictures.evaluate_all("all => all.map(image => image.naturalWidth)")
    return widths
