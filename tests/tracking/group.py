"""The server of `make server`, on a database of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.project import ROOT
from tests.tracking.server import Server


class GroupServer(Server):
    """`python -m pipelines.server`, with the database's address in its environment alone."""

    def __init__(self, folder: Path, database: str) -> None:
        super().__init__(folder)
        self.database = database

    def build_command(self) -> list[str]:
        """Return what `make server` runs."""
        return [sys.executable, "-m", "pipelines.server", "--port", str(self.port)]

    def build_environment(self) -> dict[str, str]:
        """Return an environment in which the folder is the work root."""
        return os.environ | {
            "PYTHONPATH": str(ROOT),
            "DCAL_WORK_ROOT": str(self.folder),
            "MLFLOW_BACKEND_STORE_URI": self.database,
        }
