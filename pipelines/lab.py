"""Open the notebooks in JupyterLab (ours).

Not a stage: `make lab` runs it. The notebooks are plain Python files, which JupyterLab would show
as text; here each is a tab of its own, in a kernel of this environment. Only their folder is
served: saved as a notebook, any other Python file would gain a header.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.init import HOST, check_port
from pipelines.notebook import CODE_ROOT, build_kernel_environment

NOTEBOOKS = CODE_ROOT / "notebooks"
# Defaults of JupyterLab's settings, which those of the user's home still override.
SETTINGS = NOTEBOOKS / ".jupyter"
# Git ignores it: JupyterLab keeps there which tabs are open.
WORKSPACES = SETTINGS / "workspaces"
PORT = 8888
BROWSER_VARIABLES = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")

app = typer.Typer(add_completion=False)


@app.command(context_settings={"ignore_unknown_options": True})
def main(
    port: Annotated[int, typer.Option(min=1, max=65535, help="where JupyterLab listens")] = PORT,
    arguments: Annotated[list[str] | None, typer.Argument(help="more, for jupyter lab")] = None,
) -> None:
    """Become a JupyterLab that has every notebook open, the first in front."""
    check_port(port, target="lab", speaker="lab")
    write_workspace(WORKSPACES)
    typer.echo(f"lab: http://{HOST}:{port} (Ctrl-C twice stops it)")
    if not has_display(os.environ):
        typer.echo(
            "lab: no display here, so no browser is opened: open the address with a token that "
            "follows; from another machine after ssh -N -L "
            f"{port}:{HOST}:{port} and this machine's name"
        )
    sys.stdout.flush()
    command = build_command(port, has_display=has_display(os.environ), more=arguments or ())
    os.execve(command[0], command, os.environ | build_environment())


def has_display(environment: Mapping[str, str]) -> bool:
    """Say whether a browser could be seen; one of a terminal would take that over."""
    return any(environment.get(name) for name in BROWSER_VARIABLES)


def build_command(port: int, *, has_display: bool, more: Sequence[str] = ()) -> list[str]:
    """Return the command that starts JupyterLab; `more` are arguments of the user's."""
    own = {
        "ServerApp.ip": HOST,
        "ServerApp.port": port,
        # Another port than the one asked for would be told among its log.
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": NOTEBOOKS,
        # Other users of the machine can reach a kernel's ports.
        "KernelManager.transport_encryption": "auto",
        # The environment is that of requirements.lock.
        "LabApp.extension_manager": "readonly",
        # The address is told all the same.
        "Application.log_level": "WARN",
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{key}={own[key]}" for key in own)]
    if not has_display:
        command.append("--no-browser")
    if os.geteuid() == 0:  # as in a container; Jupyter would not start
        command.append("--allow-root")
    return [*command, *more]


def build_environment() -> dict[str, str]:
    """Return the variables that give JupyterLab its settings, and kernels this project."""
    paths = filter(None, (str(SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH")))
    return build_kernel_environment() | {
        "JUPYTER_CONFIG_PATH": os.pathsep.join(paths),
        "JUPYTERLAB_WORKSPACES_DIR": str(WORKSPACES),
    }


def list_notebooks() -> list[str]:
    """Return the names of the notebooks, in their order."""
    return sorted(path.name for path in NOTEBOOKS.glob("[0-9]*.py"))


def write_workspace(folder: Path) -> None:
    """Let JupyterLab open every notebook, whatever was open when it was left."""
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    folder.mkdir(parents=True, exist_ok=True)
    WorkspacesManager(str(folder)).save("default", json.dumps(build_workspace(list_notebooks())))


def build_workspace(names: Sequence[str]) -> dict[str, Any]:
    """Return JupyterLab's record of tabs for these notebooks, the first in front."""
    factory = "Jupytext Notebook"
    tabs = {f"notebook:{name}": {"data": {"path": name, "factory": factory}} for name in names}
    main = {
        "dock": {"type": "tab-area", "currentIndex": 0, "widgets": list(tabs)},
        "current": next(iter(tabs), None),
    }
    left = {"collapsed": False, "current": "filebrowser", "widgets": ["filebrowser"]}
    layout = {"main": main, "left": left, "relativeSizes": [0.18, 0.82, 0]}
    return {"data": {"layout-restorer:data": layout} | tabs, "metadata": {"id": "default"}}


if __name__ == "__main__":
    app()
