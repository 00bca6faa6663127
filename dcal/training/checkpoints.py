"""Training state on disk: a folder a run, files that name their own digest, one writer (ours).

    checkpoints/<fingerprint>/
        run.json                    which run this is, when it was begun, gone on with and ended
        step-00000120.<sha>.ckpt    the newest two; <sha> begins the sha256 of the bytes
        lock, owner.json            who trains it now

The fingerprint names parameters, data, code and starting weights, so a change of any of them never
meets an old file. Nothing here reads a checkpoint's content.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from filelock import Timeout
from pydantic import ValidationError

from dcal.disk import sync_folder, take_lock
from dcal.paths import compute_file_digest, work_root, write_atomically, write_json
from dcal.training.run_state import Attempt, RunState
from dcal.write_errors import WriteError

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"  # of the work root
NUM_KEPT = 2  # the newest, and the one before in case the newest is damaged
# An orphan leaves within a step, or is ended by its own watch after half a minute.
WAIT_SECONDS = 60.0
_DIGEST_LENGTH = 16
_NAME = re.compile(rf"step-(\d+)\.([0-9a-f]{{{_DIGEST_LENGTH}}})\.ckpt")


class Checkpoint(NamedTuple):
    """A file that is whole, by its digest."""

    path: Path
    step: int


class CheckpointFolder:
    """The folder of one run's checkpoints; all writing happens inside `hold`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def hold(self, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Keep every other process out; a killed one lets go by being dead.

        Raises:
            RuntimeError: Another process trains this run and does not leave; the message names it.
        """
        with ExitStack() as held:
            try:
                held.enter_context(self._lock(0))
            except Timeout:
                logger.info("waiting for %s to leave run %s", self._name_owner(), self.path.name)
                self._wait_for_lock(held, wait_seconds)
            write_json(self._owner_path, {"pid": os.getpid(), "host": socket.gethostname()})
            self._remove_unfinished()
            yield

    def _lock(self, wait_seconds: float) -> AbstractContextManager[None]:
        return take_lock(self.path / "lock", wait_seconds=wait_seconds)

    def _wait_for_lock(self, held: ExitStack, wait_seconds: float) -> None:
        try:
            held.enter_context(self._lock(wait_seconds))
        except Timeout:
            raise RuntimeError(
                f"{self.path}: {self._name_owner()} trains this very run; let it finish, or "
                "stop it and run this again: it goes on from the last checkpoint"
            ) from None

    def is_held(self) -> bool:
        """Say whether some process trains this run now."""
        try:
            with self._lock(0):
                return False
        except Timeout:
            return True
        except WriteError:  # where nothing can be written, nothing is trained
            return False

    @property
    def place(self) -> str:
        """Name the folder in a message, which may be committed: no path of this machine."""
        return f"{CHECKPOINTS}/{self.path.name}"

    def open_run(
        self, conditions: dict[str, str], *, is_recorded: Callable[[RunState], bool]
    ) -> RunState:
        """Go on with the run, or begin it.

        A finished run is taken up too, since its trainer or DVC may have been killed before the
        result was recorded. Where it was, running the stage again is meant, and begins anew.

        Args:
            conditions: What the numbers depend on beside the fingerprint, such as versions; to go
                on under others is warned of.
            is_recorded: Says whether DVC has the result of a finished run.
        """
        state = self.read_state()
        if state is not None and state.finished is not None and is_recorded(state):
            logger.info("run %s was finished and recorded: it is trained anew", self.path.name)
            self.remove_files()
            state = None
        now = _now()
        state = state or RunState(run_key=uuid4().hex, started=now)
        newest = self.find_newest()
        step = newest.step if newest else 0
        state = state.begin_attempt(Attempt(started=now, from_step=step, conditions=conditions))
        self.write_state(state)
        if changes := state.describe_changes():
            logger.warning(
                "the run goes on from step %d under other conditions (%s): its numbers may differ "
                "from those of an undisturbed run",
                step,
                changes,
            )
        return state

    def read_state(self) -> RunState | None:
        """Return the run's state; None where there is none, or none that can be read."""
        path = self.path / "run.json"
        if not path.is_file():
            return None
        try:
            return RunState.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            logger.warning("%s/run.json: damaged (%s); the run gets a new name", self.place, reason)
            return None

    def write_state(self, state: RunState) -> None:
        """Replace the run's state."""
        write_json(self.path / "run.json", state.model_dump(mode="json"))

    def finish(self, *, record: Path) -> None:
        """Note that the results are written; the newest checkpoint stays until DVC has them."""
        state = self.read_state()
        assert state is not None
        digest = compute_file_digest(record, algorithm="md5")
        self.write_state(state.model_copy(update={"finished": _now(), "record_md5": digest}))
        self._prune(num_kept=1)

    def publish(self, written: Path, *, step: int) -> Checkpoint:
        """Give a file that is wholly written its name, and remove those that are too many."""
        digest = compute_file_digest(written)[:_DIGEST_LENGTH]
        path = self.path / f"step-{step:08d}.{digest}.ckpt"
        os.replace(written, path)
        sync_folder(self.path)
        self._prune(num_kept=NUM_KEPT)
        return Checkpoint(path, step)

    @contextmanager
    def write(self, *, step: int) -> Iterator[Path]:
        """Yield a path to write a checkpoint to; it counts once the block is left without error."""
        # Without a digest in its name a file is none of `list_checkpoints`.
        unnamed = self.path / f".part-step-{step:08d}.ckpt"
        with write_atomically(unnamed) as temporary:
            yield temporary
        self.publish(unnamed, step=step)

    def find_newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; a damaged one is set aside and said."""
        for checkpoint in self.list_checkpoints():
            expected = checkpoint.path.name.split(".")[1]
            if compute_file_digest(checkpoint.path).startswith(expected):
                return checkpoint
            aside = checkpoint.path.with_suffix(".damaged")
            os.replace(checkpoint.path, aside)
            logger.warning(
                "%s/%s is damaged (its bytes are not those that were written), and kept as %s; %s",
                self.place,
                checkpoint.path.name,
                aside.name,
                "the one before is used"
                if self.list_checkpoints()
                else "there is none before it, so training starts from the beginning",
            )
        return None

    def list_checkpoints(self) -> list[Checkpoint]:
        """Return all checkpoints by name, newest first, unchecked."""
        found = []
        for path in self.path.glob("step-*.ckpt"):
            match = _NAME.fullmatch(path.name)
            if match:
                found.append(Checkpoint(path, int(match[1])))
        return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)

    def describe_newest(self) -> str:
        """Name the newest checkpoint for a message."""
        checkpoints = self.list_checkpoints()
        if not checkpoints:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {checkpoints[0].path} (step {checkpoints[0].step})"

    def remove_files(self) -> None:
        """Remove all but the lock, which another process may be waiting for."""
        # Checkpoints first: without a state they would be taken up under a new name.
        for path in sorted(self.list_files(), key=lambda path: path.name == "run.json"):
            path.unlink(missing_ok=True)

    def list_files(self) -> list[Path]:
        """Return all files but the lock."""
        return [path for path in self.path.iterdir() if path.is_file() and path.name != "lock"]

    def _prune(self, *, num_kept: int) -> None:
        for checkpoint in self.list_checkpoints()[num_kept:]:
            checkpoint.path.unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        for path in self.path.glob(".part-*"):
            path.unlink(missing_ok=True)

    @property
    def _owner_path(self) -> Path:
        return self.path / "owner.json"

    def _name_owner(self) -> str:
        with suppress(OSError, ValueError, KeyError):
            owner = json.loads(self._owner_path.read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']}"
        return "another process"


def checkpoints_root() -> Path:
    """Return the folder of all runs' checkpoints, outside DVC and git."""
    return work_root() / CHECKPOINTS


def list_folders() -> list[CheckpointFolder]:
    """Return the folder of every run that has files, by name."""
    root = checkpoints_root()
    if not root.is_dir():
        return []
    folders = [CheckpointFolder(path) for path in sorted(root.iterdir()) if path.is_dir()]
    return [folder for folder in folders if folder.list_files()]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
