"""The project in a temporary clone, with commands run in it as a user does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAGES = ["fetch", "prepare", "train", "evaluate", "rollout", "report"]


class Project:
    """A folder with the project's files under git, and what is run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, succeeds: bool = True) -> str:
        """Run a command as in a shell with the environment on its path; return what it said."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode == 0) == succeeds, done.stdout
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return a user's environment: this one on the path, and nothing that a test set."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ARGS", "DCAL_", "DVC_", "GIT_", "MAKE", "MLFLOW_TRACKING"))
        }
        return environment | {
            "DVC_NO_ANALYTICS": "1",
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "GIT_AUTHOR_NAME": "nobody",
            "GIT_AUTHOR_EMAIL": "nobody@example.org",
            "GIT_COMMITTER_NAME": "nobody",
            "GIT_COMMITTER_EMAIL": "nobody@example.org",
        }

    def compose(self, *arguments: str) -> None:
        """Write params.yaml."""
        self.run("python", "-m", "pipelines.compose", *arguments)

    def repro(self, *arguments: str, succeeds: bool = True) -> list[str]:
        """Run the pipeline and return the stages that ran."""
        return find_stages(self.run("dvc", "repro", *arguments, succeeds=succeeds))

    def read_json(self, path: str) -> dict[str, Any]:
        """Read one of the results."""
        content: dict[str, Any] = json.loads((self.folder / path).read_text())
        return content

    def changed_files(self) -> list[str]:
        """Return what git would commit or take note of."""
        said = self.run("git", "status", "--porcelain", "--untracked-files=all")
        return [line[3:] for line in said.splitlines()]

    def copy(self, folder: Path) -> Project:
        """Return a copy with its DVC cache, results and history."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def find_stages(said: str) -> list[str]:
    """Return the stages that DVC said it ran."""
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


def clone(folder: Path) -> Project:
    """Copy the files that git knows as they are now, and commit them elsewhere."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        # A fresh clone has no results; those of this tree are not of the smoke preset.
        if (
            (ROOT / name).is_file()
            and (not name.startswith("results/") or name == "results/ablate/README.md")
            and not name.endswith("dvc.lock")
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder)
    project.run("git", "init", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "Start")
    return project
