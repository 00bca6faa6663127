"""A notebook becomes a page, or one sentence."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import dcal
from pipelines.notebook import render_body, run_notebook


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a notebook of such cells."""

    def write(*cells: str) -> Path:
        path = tmp_path / "story.py"
        path.write_text("".join(f"# %%{cell}\n\n" for cell in cells), encoding="utf-8")
        return path

    return write


def test_texts_and_outputs_stand_on_the_page_and_code_does_not(write, caplog) -> None:
    path = write(
        " [markdown]\n# # A story",
        ' tags=["parameters"]\ncount = 1',
        "\nimport sys\nprint(f'{count} birds')\nprint('an aside', file=sys.stderr)",
    )
    with caplog.at_level(logging.WARNING, logger="pipelines.notebook"):
        bodies = [render_body(run_notebook(path, {"count": 7})) for _ in range(2)]
    assert "<h1>A story</h1>" in bodies[0] and "7 birds" in bodies[0]
    assert "print" not in bodies[0] and "an aside" not in bodies[0]
    assert "an aside" in caplog.text
    assert not re.search(r"(src|href)=\"http", bodies[0])
    # Else DVC would take it for another page each time.
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(("cell", "told"), [("count = 1\nsize = 2", "count, size"), ("", "none")])
def test_a_parameter_that_the_notebook_lacks_is_refused(write, cell: str, told: str) -> None:
    path = write(f' tags=["parameters"]\n{cell}', "\nprint('run')")
    with pytest.raises(ValueError, match=rf"story\.py: expected .* among {told}; got cuont$"):
        run_notebook(path, {"cuont": 7})


def test_a_notebook_imports_the_code_that_runs_it_whatever_lies_beside_it(
    write, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "dcal").mkdir(parents=True)
    (other / "dcal" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    path = write("\nimport dcal\nimport os\nprint(dcal.__file__)", f"\nos.chdir({str(other)!r})")
    notebook = run_notebook(path, {})
    assert notebook.cells[0].outputs[0].text.strip() == dcal.__file__


def test_sockets_lie_in_a_folder_of_the_kernels_own(write) -> None:
    path = write(
        "\nimport json, os\nfrom ipykernel.connect import get_connection_file"
        "\nplace = json.load(open(get_connection_file()))['ip']"
        "\nprint(place.startswith(os.environ['JUPYTER_RUNTIME_DIR'] + '/'), os.listdir())"
    )
    # Else a second notebook of this folder, of another run, would talk to the same kernel.
    assert run_notebook(path, {}).cells[0].outputs[0].text == "True ['story.py']\n"


def test_a_cell_that_fails_is_one_sentence_with_its_error(write) -> None:
    path = write("\nprint('fine')", "\nraise KeyError('no\\nsuch thing')")
    with pytest.raises(RuntimeError, match=r"story\.py: a cell failed: KeyError: .*such thing'$"):
        run_notebook(path, {})


def test_a_kernel_that_dies_is_one_sentence_and_is_not_waited_for(write) -> None:
    path = write("\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RuntimeError, match=r"story\.py: its kernel died, .*memory is short"):
        run_notebook(path, {})


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone.py: no such notebook"):
        run_notebook(tmp_path / "gone.py", {})


def test_where_sockets_would_have_too_long_a_path_a_notebook_runs_all_the_same(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    notebook = run_notebook(write("\nprint('done')"), {})
    assert notebook.cells[0].outputs[0].text == "done\n"
    assert list(long.iterdir()) == []


def test_no_kernel_listens_where_other_users_could_reach_it(write) -> None:
    path = write(
        "\nfrom ipykernel.kernelapp import IPKernelApp\nprint(IPKernelApp.instance().transport)"
    )
    assert run_notebook(path, {}).cells[0].outputs[0].text.strip() == "ipc"
