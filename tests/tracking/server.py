"""A real MLflow server on loopback, and all that it knows of a run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.init import is_free

START_SECONDS = 90


class Server:
    """`mlflow server` with a database of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the address to track at."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the process that was started."""
        assert self._process is not None
        return self._process.pid

    def build_command(self) -> list[str]:
        """Return the command that serves."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        return [*command, "--artifacts-destination", str(self.folder / "artifacts")]

    def build_environment(self) -> dict[str, str]:
        """Return the environment that it serves in."""
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        return environment

    def start(self) -> None:
        """Start, and wait until it answers."""
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                self.build_command(),
                cwd=self.folder,
                env=self.build_environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < end, self.read_log()
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Stop it with its workers; without a signal as a power failure does."""
        if self._process is None:
            return
        os.killpg(self._process.pid, number)
        self._process.wait()
        end = time.monotonic() + START_SECONDS
        while not is_free(self.port):  # its workers may take their time
            assert time.monotonic() < end, self.read_log()
            time.sleep(0.05)
        self._process = None

    def read_log(self) -> str:
        """Return what it said."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def read_run(uri: str, run_key: str, folder: Path) -> dict[str, Any]:
    """Return everything that a server knows of a run but its own ids."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiments = [entry.experiment_id for entry in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.`dcal.run_key` = '{run_key}'")
    run_id = run.info.run_id
    copy = Path(client.download_artifacts(run_id, "", str(folder)))
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "start_time": run.info.start_time,
        "params": run.data.params,
        "tags": {key: text for key, text in run.data.tags.items() if key != "dcal.run_key"},
        "latest": {key: repr(value) for key, value in run.data.metrics.items()},
        "points": {key: _read_points(client, run_id, key) for key in run.data.metrics},
        "datasets": [entry.dataset.digest for entry in run.inputs.dataset_inputs],
        "files": {
            path.relative_to(copy).as_posix(): path.read_bytes()
            for path in copy.rglob("*")
            if path.is_file()
        },
    }


def _read_points(client: Any, run_id: str, key: str) -> list[tuple[int, int, str]]:
    history = client.get_metric_history(run_id, key)
    return sorted((point.step, point.timestamp, repr(point.value)) for point in history)
