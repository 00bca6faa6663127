"""Run a notebook from top to bottom and make a page of what it says, without its code (ours)."""

from __future__ import annotations

import ast
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

# The folder whose dcal and pipelines the kernel imports: the one that runs now, also where the
# results shown are those of another revision.
CODE_ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120  # a kernel that imports nothing needs two
LONGEST_FOLDER = 50  # of the 107 bytes of a socket's path, Jupyter's own names take the rest
_COLOUR_CODES = re.compile(r"\x1b\[[0-9;]*m")

logger = logging.getLogger(__name__)


def run_notebook(path: Path, parameters: Mapping[str, Any]) -> NotebookNode:
    """Run a jupytext notebook in a kernel of its own, from the notebook's folder.

    Args:
        path: The percent file.
        parameters: Set after its cell of that tag.

    Raises:
        FileNotFoundError: There is no such notebook.
        ValueError: It has no such parameter.
        RuntimeError: A cell failed, or the kernel died; the message has the cell's own words.
    """
    import jupytext
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook
    from traitlets.config import Config

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such notebook")
    notebook = jupytext.read(path)
    _require_known(parameters, notebook, path)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        with _environment_of_kernel() as connection:
            return execute_notebook(
                notebook,
                None,
                parameters=dict(parameters),
                kernel_name="python3",
                language="python",
                cwd=path.resolve().parent,
                progress_bar=False,
                start_timeout=START_SECONDS,
                config=Config(KernelManager=connection),
                # It is interrupted when it is shut down, and may call that an error.
                extra_arguments=["--IPKernelApp.log_level=50"],
            )
    except PapermillExecutionError as error:
        reason = _COLOUR_CODES.sub("", " ".join(f"{error.ename}: {error.evalue}".split()))
        raise RuntimeError(f"{path}: a cell failed: {reason}") from None
    except DeadKernelError:
        raise RuntimeError(
            f"{path}: its kernel died, as it does when memory is short; free some and run again"
        ) from None


def _require_known(parameters: Mapping[str, Any], notebook: NotebookNode, path: Path) -> None:
    """Refuse a mistyped name, which would be set and read by no cell."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    statements = [node for cell in cells for node in ast.parse(cell.source).body]
    targets = [each for node in statements if isinstance(node, ast.Assign) for each in node.targets]
    known = [target.id for target in targets if isinstance(target, ast.Name)]
    unknown = [name for name in parameters if name not in known]
    if unknown:
        told = ", ".join(known) if known else "none"
        raise ValueError(f"{path}: expected parameters among {told}; got {', '.join(unknown)}")


def render_body(notebook: NotebookNode) -> str:
    """Return the HTML of a notebook's texts and outputs: no code, nothing from elsewhere.

    What cells wrote to their error stream is logged instead. The same outputs give the same text.
    """
    from nbconvert import HTMLExporter

    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # jupytext makes one up anew each time
        outputs = cell.get("outputs", [])
        for output in outputs:
            if output.get("name") == "stderr":
                logger.warning("notebook: %s", output["text"].strip())
        if outputs:
            cell["outputs"] = [entry for entry in outputs if entry.get("name") != "stderr"]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body: str = exporter.from_notebook_node(notebook)[0]
    return body


def build_kernel_environment() -> dict[str, str]:
    """Return the variables by which a kernel imports this project from `CODE_ROOT`."""
    paths = filter(None, (str(CODE_ROOT), os.environ.get("PYTHONPATH")))
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        # A library misses what draws progress bars in a notebook; a page has no use for them.
        "PYTHONWARNINGS": "ignore:IProgress not found",
    }


@contextmanager
def _environment_of_kernel() -> Iterator[dict[str, str]]:
    """Let a kernel started inside import this project from `CODE_ROOT`; yield how to talk to it.

    What it keeps goes to a temporary folder, and start-up files of the user's are not run.
    """
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        wanted = build_kernel_environment() | {
            "JUPYTER_RUNTIME_DIR": folder,
            "IPYTHONDIR": folder,
        }
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            # By TCP every user of the machine could listen; but a socket's path has an end. Without
            # `ip` sockets lie in the notebook's folder, by names that a second kernel has too.
            is_short = len(folder) <= LONGEST_FOLDER
            yield {"transport": "ipc", "ip": f"{folder}/socket"} if is_short else {}
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
