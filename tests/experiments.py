"""README's two experiments, worked off by DVC's queue, for all tests that look at experiments."""

from __future__ import annotations

import re
import shlex
import time

from tests.project import ROOT, Project

SECTION = (ROOT / "README.md").read_text().partition("\n## Compare runs with DVC alone\n")[2]
QUEUE, COMPARE = [
    block.splitlines()
    for block in re.findall(r"^```bash\n(.*?)^```", SECTION.partition("\n## ")[0], re.S | re.M)
]
PATIENCE_SECONDS = 400


def run_experiments(finished: Project, project: Project) -> None:
    """Commit a copy's results as README asks, and work off its queue."""
    finished.copy(project.folder)
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "Results")
    try:
        _work_off_queue(project)
    finally:
        project.run("dvc", "queue", "stop", "--kill")


def _work_off_queue(project: Project) -> None:
    *commands, look = [shlex.split(command) for command in QUEUE]
    for command in commands:
        project.run(*command)
    end = time.monotonic() + PATIENCE_SECONDS
    while re.search("Queued|Running", said := project.run(*look)):
        assert time.monotonic() < end, said
        time.sleep(5)
    assert said.count("Success") == 2, said
