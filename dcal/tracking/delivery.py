"""One journal replayed to MLflow, in order, so that what is sent twice is there once (ours).

Every entry is idempotent at the server: a metric row that is there already is ignored by MLflow's
stores, params, tags, data sets and files are replaced by the same, and a run is looked up by its
tag `dcal.run_key` before it is made. So after any failure the last entries are simply sent again.
"""

from __future__ import annotations

import json
import logging
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcal.tracking.answers import (
    describe_failure,
    is_about_deleted_run,
    is_refusal,
    is_unknown_run,
)
from dcal.tracking.batches import BATCHED, build_dataset, build_items, cut_batch, split_calls
from dcal.tracking.spool import ORIGINS, Entry, Line, Spool, State
from dcal.tracking.store import connect, describe_tracking_uri, find_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo, Run

logger = logging.getLogger(__name__)

RUN_KEY_TAG = "dcal.run_key"
PARENT_TAG = "mlflow.parentRunId"  # MLflow's pages show such a run below the other
MAX_LINES = 200


class OtherServerError(Exception):
    """The run is at home on another server than this one, or is not on this one."""


class Delivery:
    """Sends what waits in a spool; its owner holds the spool's sender lock.

    Whatever a method raises but `OtherServerError` may pass; nothing is lost by calling again.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.state = spool.read_state()
        self.num_rejected = 0
        self.num_gone = 0  # files that were sent to a run that the server no longer has
        self._client: MlflowClient | None = None

    @property
    def client(self) -> MlflowClient:
        """Connect when it is first needed."""
        if self._client is None:
            self._client = connect()
        return self._client

    def send_next(self) -> bool:
        """Send the next few entries; say whether there were any.

        Raises:
            OtherServerError: The run is of another server, or was made elsewhere and is not here.
        """
        lines = list(islice(self.spool.read_lines(self.state.offset), MAX_LINES))
        if not lines:
            return False
        self._require_home()
        try:
            if self.state.run_id is None:
                self._keep(self.state._replace(run_id=self._open_run()))
            lines = cut_batch(lines)
            self._send(lines)
        except Exception as error:
            if not is_unknown_run(error):
                raise
            self._follow_run(error)
            return True
        self._keep(self.state._replace(offset=lines[-1].end))
        self._remove_sent_files(lines)
        return True

    def _require_home(self) -> None:
        home, now = self.spool.find_home(), describe_tracking_uri()
        if home is not None and home != now:
            raise OtherServerError(
                f"{self.spool.place} is of MLflow at {home}, and MLFLOW_TRACKING_URI leads to "
                f"{now}: what is said of that run waits; set the variable back, or send all of it "
                "there with: make sync ARGS=--here"
            )

    def _send(self, lines: list[Line]) -> None:
        first = lines[0].entry
        if first is None:
            self._set_aside({"kind": "broken"}, "a line of the journal could not be read")
        elif first["kind"] in BATCHED:
            for kind, entities in split_calls(build_items(lines)):
                self._send_batch(kind, entities)
        elif first["kind"] not in ORIGINS:
            try:
                self._send_single(first)
            except Exception as error:
                if not is_refusal(error):
                    raise
                self._set_aside(first, describe_failure(error))

    def _send_batch(self, kind: str, entities: list[Any]) -> None:
        values: dict[str, Any] = {kind: entities}
        try:
            self.client.log_batch(self._run_id, **values)
        except Exception as error:
            if not is_refusal(error):
                raise
            if len(entities) == 1 or is_about_deleted_run(error):
                for entity in entities:
                    self._set_aside({"kind": kind, **dict(entity)}, describe_failure(error))
                return
            # One of them is to blame: halve until it stands alone.
            middle = len(entities) // 2
            self._send_batch(kind, entities[:middle])
            self._send_batch(kind, entities[middle:])

    def _send_single(self, entry: Entry) -> None:
        match entry["kind"]:
            case "file":
                self._send_file(self.spool.folder / entry["file"], entry["folder"])
            case "dataset":
                self.client.log_inputs(self._run_id, datasets=[build_dataset(entry)])
            case "status" if entry["status"] == "RUNNING":
                self.client.update_run(self._run_id, status="RUNNING")
            case "status":
                self._drop_empty_doubles()
                self.client.set_terminated(self._run_id, entry["status"], end_time=entry["time"])

    def _send_file(self, path: Path, folder: str) -> None:
        if not path.is_file():
            self.num_gone += 1
            return
        self.client.log_artifact(self._run_id, str(path), folder or None)
        # MLflow's client takes any answer of status 200 to an upload, such as a proxy's log-in
        # page, and our copy is deleted next.
        sizes = {file.path: file.file_size for file in self._list_files(folder)}
        name = f"{folder}/{path.name}" if folder else path.name
        if sizes.get(name) != path.stat().st_size:
            raise ConnectionError(f"{name} did not arrive")

    def _list_files(self, folder: str) -> list[FileInfo]:
        return list(self.client.list_artifacts(self._run_id, folder or None))

    @property
    def _run_id(self) -> str:
        assert self.state.run_id is not None
        return self.state.run_id

    def _open_run(self) -> str:
        """Return the id of the journal's run, which is made if the server does not have it."""
        origin = self.spool.find_origin()
        if origin is None:
            raise ValueError(
                f"{self.spool.place}/{self.spool.journal.name} does not say which run it is of"
            )
        if origin["kind"] == "bind" and origin["run_id"] and self._has_run(origin["run_id"]):
            return str(origin["run_id"])
        experiment = find_experiment(self.client, origin["experiment"])
        found = self._search_runs(experiment)
        if found:
            return max(found, key=self._rank).info.run_id
        if origin["kind"] == "bind":
            raise OtherServerError(
                f"{describe_tracking_uri()} has no run {origin['run_id'] or self.spool.run_key} "
                f"(it was tracked elsewhere): what is said of it now waits in {self.spool.place}"
            )
        tags = origin["tags"] | {RUN_KEY_TAG: self.spool.run_key}
        if origin.get("parent_key"):
            tags[PARENT_TAG] = self._find_parent(experiment, origin["parent_key"])
        made = self.client.create_run(
            experiment, start_time=origin["start_time"], run_name=origin["name"], tags=tags
        )
        return str(made.info.run_id)

    def _find_parent(self, experiment: str, key: str) -> str:
        found = self._search_runs(experiment, key)
        if not found:  # its own journal may still wait; a later try finds it
            raise ConnectionError(f"the run's parent {key} has not been sent yet")
        return str(found[0].info.run_id)

    def _follow_run(self, error: Exception) -> None:
        """Start over where the server has lost the run, as when its database was deleted."""
        run_id = self._open_run()
        if run_id == self.state.run_id:
            raise error  # The run is there: something on the way said otherwise.
        logger.warning(
            "%s no longer has run %s: everything kept of it is sent to a new run, %s",
            describe_tracking_uri(),
            self.state.run_id,
            run_id,
        )
        self._keep(self.state._replace(run_id=run_id, offset=0))

    def _has_run(self, run_id: str) -> bool:
        try:
            self.client.get_run(run_id)
        except Exception as error:
            if is_unknown_run(error):
                return False
            raise
        return True

    def _search_runs(self, experiment: str, key: str | None = None) -> list[Run]:
        query = f"tags.`{RUN_KEY_TAG}` = '{key or self.spool.run_key}'"
        return list(self.client.search_runs([experiment], query))

    def _rank(self, run: Run) -> tuple[bool, int]:
        return run.info.run_id == self.state.run_id, len(run.data.metrics) + len(run.data.params)

    def _drop_empty_doubles(self) -> None:
        # A server that hung may carry out a creation long after it was asked for again.
        experiment = self.client.get_run(self._run_id).info.experiment_id
        for run in self._search_runs(experiment):
            if run.info.run_id != self._run_id and not (run.data.metrics or run.data.params):
                self.client.delete_run(run.info.run_id)

    def _keep(self, state: State) -> None:
        if state != self.state:
            self.spool.write_state(state)
            self.state = state

    def _remove_sent_files(self, lines: list[Line]) -> None:
        # Only after the state is kept: a file that is needed again must still be there.
        for line in lines:
            if line.entry and line.entry["kind"] == "file":
                path = self.spool.folder / line.entry["file"]
                path.unlink(missing_ok=True)
                if path.parent.is_dir():
                    path.parent.rmdir()

    def _set_aside(self, entry: Entry | None, reason: str) -> None:
        self.num_rejected += 1
        with open(self.spool.rejected, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"reason": reason, "entry": entry}, default=str) + "\n")
