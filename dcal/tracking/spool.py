"""What waits for MLflow, one folder a run below mlflow-spool/ of the work root (ours).

journal.jsonl   everything the run said, one entry a line, in order; only ever appended to
state.json      the run's id and how many bytes of the journal MLflow has
rejected.jsonl  what MLflow refused for good, with its reason
files/          copies of files and drawings until they are sent
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from dcal.paths import work_root

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
SPOOLS = "mlflow-spool"


class State(NamedTuple):
    """How far the journal was delivered, and to which run."""

    run_id: str | None = None  # None = no server has answered yet
    offset: int = 0  # bytes of the journal that MLflow has
    uri: str | None = None  # the server that the user sends it to instead of its own


class Line(NamedTuple):
    """One whole line of a journal."""

    entry: Entry | None  # None = not JSON, such as after a power failure
    end: int  # offset of the next line


@dataclass(frozen=True)
class Spool:
    """The files of one run that is on its way to MLflow."""

    folder: Path

    @property
    def run_key(self) -> str:
        """Name the run before any server has answered, and ever after."""
        return self.folder.name

    @property
    def place(self) -> str:
        """Name the folder in a message, which may be committed: no path of this machine."""
        return f"{SPOOLS}/{self.run_key}"

    @property
    def journal(self) -> Path:
        """Everything the run said."""
        return self.folder / "journal.jsonl"

    @property
    def rejected(self) -> Path:
        """What MLflow refused for good."""
        return self.folder / "rejected.jsonl"

    @property
    def files(self) -> Path:
        """Copies that wait to be sent."""
        return self.folder / "files"

    @property
    def num_waiting(self) -> int:
        """Count the journal's entries that MLflow does not have yet."""
        return sum(1 for _ in self.read_lines(self.read_state().offset))

    def sender_lock(self) -> FileLock:
        """Return the lock of the one process that sends; it ends with the process."""
        return FileLock(self.folder / "sender.lock", timeout=0)

    def is_being_sent(self) -> bool:
        """Say whether a live process holds the sender's lock."""
        try:
            with self.sender_lock():
                return False
        except Timeout:
            return True
        except OSError:  # a place that cannot be written to: nobody could note what was sent
            return False

    def is_delivered(self) -> bool:
        """Say whether MLflow has all of the journal."""
        return not self.journal.exists() or self.read_state().offset >= self.journal.stat().st_size

    def read_state(self) -> State:
        """Return how far delivery is; from the start where that is not known.

        To send again from the start is slow, and changes nothing at the server.
        """
        try:
            return State(**json.loads((self.folder / "state.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return State()
        except (ValueError, TypeError):
            logger.warning("%s/state.json cannot be read: all is sent again", self.place)
            return State()

    def write_state(self, state: State) -> None:
        """Keep how far delivery is; only the holder of the sender's lock does so."""
        # Not paths.write_atomically, which sets the umask of the whole process for a moment: this
        # runs beside the training thread.
        temporary = self.folder / ".part-state.json"
        temporary.write_text(json.dumps(state._asdict()), encoding="utf-8")
        os.replace(temporary, self.folder / "state.json")

    def read_lines(self, offset: int = 0) -> Iterator[Line]:
        """Yield whole lines from an offset; what is still being written is left for later."""
        if not self.journal.exists():
            return
        with open(self.journal, "rb") as stream:
            stream.seek(offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield Line(parse_entry(line), offset)

    def find_home(self) -> str | None:
        """Return the server that the run is of, without passwords; None in journals of before."""
        origin = self.find_origin() or {}
        return self.read_state().uri or origin.get("uri")

    def send_elsewhere(self, uri: str) -> None:
        """Have all of the journal sent to another server; the sender's lock must be free.

        Raises:
            ValueError: A running process sends it.
        """
        try:
            with self.sender_lock():
                self.write_state(State(uri=uri))
        except Timeout:
            raise ValueError(f"{self.place}: a running process still sends it") from None

    def find_origin(self) -> Entry | None:
        """Return the entry that says which run this is: its first, if the disk is whole."""
        entries = (line.entry for line in self.read_lines())
        return next((entry for entry in entries if entry and entry["kind"] in ORIGINS), None)


ORIGINS = ("create", "bind")


class SpoolSummary(NamedTuple):
    """What `make gc` and `make sync` need to know of a spool."""

    spool: Spool
    run_key: str
    run_id: str | None
    num_waiting: int  # entries that MLflow does not have
    num_bytes: int
    last_change: datetime


def parse_entry(line: bytes) -> Entry | None:
    """Return a journal's line as an entry, or None where it is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "kind" in entry else None


def find_spool(run_key: str) -> Spool:
    """Return the spool of a run, which need not exist yet."""
    assert re.fullmatch(r"[0-9a-f]{32}", run_key), run_key
    return Spool(spool_root(work_root()) / run_key)


def spool_root(root: Path) -> Path:
    """Return the folder of all spools of a work root."""
    return root / SPOOLS


def list_spools(root: Path) -> list[SpoolSummary]:
    """Describe every spool of a work root, by run key."""
    folders = sorted(path for path in spool_root(root).glob("*") if path.is_dir())
    return [summarise_spool(Spool(folder)) for folder in folders]


def summarise_spool(spool: Spool) -> SpoolSummary:
    """Describe one spool."""
    # To look at a lock changes its time.
    paths = [path for path in spool.folder.rglob("*") if path.suffix != ".lock"]
    files = [path.stat() for path in paths if path.is_file()]
    changed = max((file.st_mtime for file in files), default=spool.folder.stat().st_mtime)
    return SpoolSummary(
        spool=spool,
        run_key=spool.run_key,
        run_id=spool.read_state().run_id,
        num_waiting=spool.num_waiting,
        num_bytes=sum(file.st_size for file in files),
        last_change=datetime.fromtimestamp(changed, tz=UTC),
    )


def remove_spool(spool: Spool) -> None:
    """Delete a spool that MLflow has all of; a later stage then goes on by the run's id.

    Raises:
        ValueError: Something still waits, or a live process sends it.
    """
    try:
        with spool.sender_lock():
            if spool.num_waiting:
                raise ValueError(
                    f"{spool.place}: expected a delivered spool; {spool.num_waiting} entries "
                    "still wait for MLflow; run: make sync"
                )
            shutil.rmtree(spool.folder)
    except Timeout:
        raise ValueError(
            f"{spool.place}: a running process still sends it; try again when it has ended"
        ) from None
