"""What a run said, in order and on disk before MLflow hears of it (ours).

Entries are mappings with a `kind`:

    create   uri, experiment, name, tags, start_time    the run, made here
    bind     uri, experiment, run_id, start_time        a run made on another machine
    params, tags   values
    metrics  values, step, time
    scores   values, step (0), time                the newest value of a key counts
    file     file (in the spool), folder, digest
    dataset  name, digest
    status   status, time

Times are milliseconds. Nothing that was journalled is journalled again, whichever process asks.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dcal.tracking.spool import Entry, Spool, parse_entry

LOCK_SECONDS = 10  # appending takes microseconds, reading a long journal seconds


class Known:
    """What a journal holds, as far as it decides whether an entry is new."""

    def __init__(self) -> None:
        self.origin: Entry | None = None
        self.status = "RUNNING"
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self._last_steps: dict[str, int] = {}
        self._scores: dict[str, tuple[str, int]] = {}  # text of the value, time
        self._digests: dict[str, str] = {}  # of files, by folder and name
        self._datasets: set[tuple[str, str]] = set()

    def reduce(self, entry: Entry) -> Entry | None:
        """Return what is new of an entry; None = all of it is known."""
        match entry["kind"]:
            case "create" | "bind":
                return None if self.origin else entry
            case "status":
                return entry if entry["status"] != self.status else None
            case "file":
                return entry if self._digests.get(_name_file(entry)) != entry["digest"] else None
            case "dataset":
                return entry if _name_dataset(entry) not in self._datasets else None
        values = {key: value for key, value in entry["values"].items() if self._is_new(entry, key)}
        if not values:
            return None
        if entry["kind"] == "scores":
            # MLflow shows the largest of equally late values, so a newer score must be later.
            times = [self._scores[key][1] + 1 for key in values if key in self._scores]
            return {**entry, "values": values, "time": max([entry["time"], *times])}
        return {**entry, "values": values}

    def _is_new(self, entry: Entry, key: str) -> bool:
        value = entry["values"][key]
        match entry["kind"]:
            case "params":
                return key not in self.params
            case "tags":
                return self.tags.get(key) != value
            case "scores":
                # As texts, because NaN is not equal to itself.
                return key not in self._scores or self._scores[key][0] != repr(value)
        return key not in self._last_steps or entry["step"] > self._last_steps[key]

    def absorb(self, entry: Entry) -> None:
        """Take note of an entry that is in the journal."""
        match entry["kind"]:
            case "create":
                self.origin = self.origin or entry
                self.tags |= entry["tags"]
            case "bind":
                self.origin = self.origin or entry
            case "params":
                self.params |= entry["values"]
            case "tags":
                self.tags |= entry["values"]
            case "metrics":
                self._last_steps |= dict.fromkeys(entry["values"], entry["step"])
            case "scores":
                self._scores |= {
                    key: (repr(value), entry["time"]) for key, value in entry["values"].items()
                }
            case "file":
                self._digests[_name_file(entry)] = entry["digest"]
            case "dataset":
                self._datasets.add(_name_dataset(entry))
            case "status":
                self.status = entry["status"]


class Journal:
    """Appends entries to a spool's journal, each whole or not at all, and each once.

    Several processes may append to the same one: each first reads what the others added.

    Raises:
        OSError: The journal cannot be written, or its disk is full.
    """

    def __init__(self, spool: Spool) -> None:
        spool.folder.mkdir(parents=True, exist_ok=True)
        self.known = Known()
        self._threads = threading.Lock()
        self._file = os.open(spool.journal, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        self._position = 0
        with self._locked():
            self._catch_up()

    def append(self, entry: Entry) -> bool:
        """Write what is new of an entry; say whether anything was."""
        with self._locked():
            self._catch_up()
            new = self.known.reduce(entry)
            if new is None:
                return False
            line = json.dumps(new, separators=(",", ":")).encode() + b"\n"
            self._write(line)
            self._position += len(line)
            self.known.absorb(new)
            return True

    def close(self) -> None:
        """Let go of the file; nothing can be appended any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The open file itself is locked: a FileLock, which opens one each time, costs three times
        # what all the rest of an entry does.
        if self._file < 0:
            raise OSError("the run has ended")
        end = time.monotonic() + LOCK_SECONDS
        with self._threads:
            while not self._try_lock():
                if time.monotonic() > end:
                    raise TimeoutError(f"another process holds it for {LOCK_SECONDS} s")
                time.sleep(0.001)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _write(self, line: bytes) -> None:
        # One call hands the line to the operating system, so a kill cannot take it back.
        if os.write(self._file, line) != len(line):
            os.ftruncate(self._file, self._position)
            raise OSError("the disk is full")

    def _catch_up(self) -> None:
        size = os.fstat(self._file).st_size
        if size == self._position:
            return
        with open(self._file, "rb", closefd=False) as stream:
            stream.seek(self._position)
            for line in stream:
                if not line.endswith(b"\n"):
                    # Its writer was killed half-way: under the lock nobody else is writing.
                    os.ftruncate(self._file, self._position)
                    return
                self._position += len(line)
                entry = parse_entry(line)
                if entry is not None:
                    self.known.absorb(entry)


def _name_file(entry: Entry) -> str:
    return f"{entry['folder']}/{entry['file'].rpartition('/')[2]}"


def _name_dataset(entry: Entry) -> tuple[str, str]:
    return entry["name"], entry["digest"]
