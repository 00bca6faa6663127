"""How JupyterLab is started, and that what it saves is what was written by hand."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import pytest

from pipelines import lab
from tests.project import ROOT

NAMES = sorted(path.name for path in (ROOT / "notebooks").glob("*.py"))


def test_every_notebook_is_a_tab_and_the_first_is_in_front() -> None:
    assert lab.list_notebooks() == NAMES
    data = lab.build_workspace(NAMES)["data"]
    main = data["layout-restorer:data"]["main"]
    assert main["current"] == "notebook:01_tour_of_the_data.py"
    assert [data[tab]["data"]["path"] for tab in main["dock"]["widgets"]] == NAMES


def test_what_was_open_before_is_no_matter(tmp_path: Path) -> None:
    for _ in range(2):
        lab.write_workspace(tmp_path / "workspaces")
        (path,) = (tmp_path / "workspaces").iterdir()
        assert json.loads(path.read_text()) == lab.build_workspace(NAMES)
        path.write_text("{}")


def test_a_double_click_opens_a_notebook() -> None:
    path = lab.SETTINGS / "labconfig" / "default_setting_overrides.json"
    viewers = json.loads(path.read_text())["@jupyterlab/docmanager-extension:plugin"]
    assert viewers == {"defaultViewers": {"python": "Jupytext Notebook"}}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, False), ({"DISPLAY": ""}, False), ({"DISPLAY": ":0"}, True), ({"BROWSER": "w3m"}, True)],
)
def test_a_browser_is_opened_where_it_can_be_seen(
    environment: dict[str, str], expected: bool
) -> None:
    assert lab.has_display(environment) is expected
    command = lab.build_command(8888, has_display=expected, more=["--debug"])
    assert ("--no-browser" in command) is not expected
    assert command[0] == sys.executable and command[-1] == "--debug"


def test_kernels_import_this_project_and_settings_of_the_user_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/own")
    environment = lab.build_environment()
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    assert environment["JUPYTER_CONFIG_PATH"] == f"{lab.SETTINGS}{os.pathsep}/own"


def test_a_port_in_use_is_one_sentence_with_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.lab", "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(
        f"lab: port {port} of 127.0.0.1 is in use by another process; choose another one: make "
        "lab PORT="
    )
    assert done.stderr.count("\n") == 1


def test_make_gives_its_port_and_arguments() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    start = lines.index(f"lab: PORT := {lab.PORT}")
    assert lines[start + 1].startswith("lab: setup ## ")
    assert lines[start + 2] == "\t@python -m pipelines.lab --port $(PORT) $(ARGS)"
    assert lines[start + 3] == ""


def test_a_notebook_that_was_run_and_saved_is_the_file_it_was(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    for name in NAMES:
        asyncio.run(run_and_save(tmp_path / "notebooks", name))
        saved = (tmp_path / "notebooks" / name).read_text()
        assert saved == (ROOT / "notebooks" / name).read_text()


async def run_and_save(folder: Path, name: str) -> None:
    """Open a notebook as JupyterLab does, give it what a run gives, and save it."""
    from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
    from jupytext.async_contentsmanager import build_async_jupytext_contents_manager_class

    contents = build_async_jupytext_contents_manager_class(AsyncLargeFileManager)()
    contents.root_dir = str(folder)
    content: Any = (await contents.get(name, type="notebook", content=True))["content"]
    content.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    content.metadata["language_info"] = {"name": "python", "version": "3.11.2"}
    for cell in content.cells:
        cell.metadata.update(trusted=True, execution={"iopub.status.busy": "now"})
        if cell.cell_type == "code":
            cell.execution_count = 3
            cell.outputs = [{"output_type": "stream", "name": "stdout", "text": "42"}]
    await contents.save({"type": "notebook", "content": content, "format": "json"}, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_asks_in_its_headline_and_ends_with_its_answer(name: str) -> None:
    cells = jupytext.read(ROOT / "notebooks" / name).cells
    assert cells[0].source.splitlines()[0].endswith("?")
    assert cells[-2].source == "## Answer"
    # What is computed lies in dcal: here it is called, shown and said.
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert [
        word for word in ("def ", "class ", "lambda", "plt.", "pd.", "np.") if word in code
    ] == []
