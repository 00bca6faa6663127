"""Find a run by any of its names: experiment, git revision, MLflow run id, fingerprint (ours).

A run is a commit whose results/train/run.json tells its ids. Commits of every branch, tag and DVC
experiment are looked through; what lies uncommitted in the workspace comes last.
"""

from __future__ import annotations

import difflib
import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = "results/train/run.json"
SHORTEST_PREFIX = 6
NUM_SHOWN = 5
_EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")


class RunError(ValueError):
    """A run that cannot be found or shown; the message is one sentence and says what to do."""


@dataclass(frozen=True)
class Run:
    """A commit with results; `commit` is None for those that are not committed yet."""

    commit: str | None
    run_id: str | None = None
    fingerprint: str | None = None
    started: str = ""
    experiment: str | None = None
    dataset: str | None = None  # its name

    @property
    def ids(self) -> list[str]:
        """Return what its record calls it."""
        return [name for name in (self.run_id, self.fingerprint) if name]

    def describe(self) -> str:
        """Name it in a few words, each of which finds it again."""
        where = f"commit {self.commit[:8]}" if self.commit else "the workspace"
        if self.experiment:
            where = f"experiment {self.experiment}"
        names = [f"run {name[:12]}" for name in self.ids]
        return f"{where} ({', '.join([*names, self.started[:16]])})" if names else where


def find_run(name: str) -> Run:
    """Return the one run that a name can mean.

    Args:
        name: A DVC experiment, any git revision, an MLflow run id or a fingerprint, of which
            the first six characters are enough.

    Raises:
        RunError: It means none or several; the message lists the nearest or those.
    """
    experiments, records = list_experiments(), list_records()
    found = [entry for entry in experiments if entry.experiment == name]
    commit = _resolve(name)
    if commit is not None:
        found.append(Run(commit))
    by_id = [entry for entry in records if _is_named(entry, name)]
    # The newest of the commits that hold the same training: its other results are the latest.
    found += {entry.run_id or entry.fingerprint: entry for entry in reversed(by_id)}.values()
    different = {entry.commit: entry for entry in found}
    if len(different) > 1:
        raise RunError(
            f"RUN={name} means {len(different)} runs: "
            f"{', '.join(_describe(different.values(), records))}; give more characters or a commit"
        )
    if not different:
        raise RunError(_describe_unknown(name, experiments, records))
    (run,) = different.values()
    return run


def list_experiments() -> list[Run]:
    """Return the DVC experiments of this clone, of whatever commit they start from."""
    refs = _git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    runs = []
    for commit, ref in (line.split(" ", 1) for line in refs):
        match = _EXPERIMENT.fullmatch(ref)
        if match:
            runs.append(Run(commit, experiment=match["name"]))
    return runs


def list_records(*other_paths: str) -> list[Run]:
    """Return every commit that brought a run record, newest first, and the workspace last.

    Args:
        other_paths: Commits that brought one of these beside an older record count, too.
    """
    commits = _git("log", "--all", "--format=%H", "--", RECORD, *other_paths).split()
    names = {entry.commit: entry.experiment for entry in list_experiments()}
    texts = read_texts(commits, RECORD)
    runs = [_read_record(text, commit, names.get(commit)) for commit, text in texts]
    if Path(RECORD).is_file():
        runs.append(_read_record(Path(RECORD).read_text(encoding="utf-8"), None, None))
    return [run for run in runs if run is not None]


def read_texts(commits: Sequence[str], path: str) -> Iterator[tuple[str, str]]:
    """Yield each commit and its text of a file below the current directory; some have none."""
    prefix = _git("rev-parse", "--show-prefix").strip()
    asked = "".join(f"{commit}:{prefix}{path}\n" for commit in commits)
    stream = _run_git("cat-file", "--batch", stdin=asked.encode())
    for commit in commits:
        head, _, stream = stream.partition(b"\n")
        if not head.endswith(b"missing"):
            num_bytes = int(head.split()[-1])
            yield commit, stream[:num_bytes].decode(errors="replace")
            stream = stream[num_bytes + 1 :]


def _read_record(text: str, commit: str | None, experiment: str | None) -> Run | None:
    """Take the names out of a record of any version; None where it is no such thing."""
    try:
        record: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    values = {key: record.get(key) for key in ("run_id", "fingerprint", "started")}
    dataset = record.get("dataset")
    return Run(
        commit,
        run_id=values["run_id"],
        fingerprint=values["fingerprint"],
        started=values["started"] or "",
        experiment=experiment,
        dataset=dataset.get("name") if isinstance(dataset, dict) else None,
    )


def _is_named(run: Run, name: str) -> bool:
    return len(name) >= SHORTEST_PREFIX and any(entry.startswith(name.lower()) for entry in run.ids)


def _resolve(name: str) -> str | None:
    if name.startswith("-"):
        return None
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    except subprocess.CalledProcessError:
        return None


def _describe(found: Iterable[Run], records: Sequence[Run]) -> list[str]:
    known = {run.commit: run for run in records}
    return [known.get(run.commit, run).describe() for run in found]


def _describe_unknown(name: str, experiments: Sequence[Run], records: Sequence[Run]) -> str:
    branches = _git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags").split()
    names = [str(entry.experiment) for entry in experiments] + branches
    names += [entry for run in records for entry in run.ids]
    near = difflib.get_close_matches(name, dict.fromkeys(names), n=NUM_SHOWN, cutoff=0.5)
    near = near or [entry for entry in names if entry.startswith(name)][:NUM_SHOWN]
    hints = [f"the nearest: {', '.join(near)}"] if near else []
    recent = [run.describe() for run in _newest(records)]
    hints.append(f"recent runs: {', '.join(recent)}" if recent else "no run is committed yet")
    return (
        f"RUN={name}: no experiment, git revision, MLflow run id or fingerprint here "
        f"(of ids at least {SHORTEST_PREFIX} characters); {'; '.join(hints)}"
    )


def _newest(records: Sequence[Run]) -> list[Run]:
    # Several commits may hold one training; the first listed is the newest.
    different = {run.run_id or run.fingerprint: run for run in reversed(records)}
    return sorted(different.values(), key=lambda run: run.started, reverse=True)[:NUM_SHOWN]


def _git(*arguments: str) -> str:
    return _run_git(*arguments).decode(errors="replace")


def _run_git(*arguments: str, stdin: bytes | None = None) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], input=stdin, capture_output=True, check=True)
    except FileNotFoundError:
        raise RunError("git is missing; install it, since a run is looked for in commits") from None
    except subprocess.CalledProcessError as error:
        if b"not a git repository" in error.stderr:
            raise RunError(
                "this folder is not under git, so it holds no run but its own: leave RUN out"
            ) from None
        raise
    return done.stdout
