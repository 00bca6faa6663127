"""A committed run's files in a folder of their own, from git and this clone's DVC cache (ours)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from dcal.disk import take_lock
from pipelines.runs import Run, RunError

# Beside the cache, so that files are hard links to it; ignored by git and by DVC.
PARENT = Path(".dvc/tmp")
PREFIX = "run-"
MADE_ANEW = "reports/"  # what a run is checked out for
NUM_NAMED = 5


@contextmanager
def check_out(run: Run) -> Iterator[Path]:
    """Yield a folder with a run's files as they were committed; it is removed afterwards.

    What is large there is a link into the cache: read it, never write into it.

    Raises:
        RunError: The commit has no results, or some but its own pages are not in the cache.
    """
    if run.commit is None:
        yield Path.cwd()
        return
    root = Path.cwd()
    PARENT.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(root / PARENT)
    folder = root / PARENT / f"{PREFIX}{uuid4().hex[:12]}"
    lock = Path(f"{folder}.lock")
    try:
        with take_lock(lock, wait_seconds=0):
            project = _clone(root, folder, run)
            _link_outs(root, project, run)
            yield project
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # read-only: it was never made
            lock.unlink(missing_ok=True)


def _remove_leftovers(parent: Path) -> None:
    """Remove the folders of processes that were killed: nobody holds their locks any more."""
    for place in parent.glob(f"{PREFIX}*.lock"):
        try:
            with FileLock(place, timeout=0):
                shutil.rmtree(place.with_suffix(""), ignore_errors=True)
                place.unlink(missing_ok=True)
        except Timeout:
            continue


def _clone(root: Path, folder: Path, run: Run) -> Path:
    """Check the commit out; return the folder of its dvc.yaml."""
    prefix = _git("-C", str(root), "rev-parse", "--show-prefix")
    _git("clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder))
    _git("-C", str(folder), "checkout", "--quiet", "--detach", str(run.commit))
    project = folder.resolve() / prefix
    if not (project / "dvc.lock").is_file():
        raise RunError(f"{run.describe()}: no results are committed there (no dvc.lock)")
    return project


def _link_outs(root: Path, project: Path, run: Run) -> None:
    from dvc.exceptions import CheckoutError
    from dvc.repo import Repo

    with Repo(str(root)) as own:
        cache = own.cache.local_cache_dir
    # DVC keeps an index of every folder it works in elsewhere; this one's goes with the folder.
    config = {
        "cache": {"dir": cache},
        "core": {"site_cache_dir": str(project / ".dvc/tmp/site")},
    }
    with Repo(str(project), config=config) as repo:
        try:
            repo.checkout(force=True)
        except CheckoutError as error:
            # DVC names them from the current directory.
            paths = [Path(name).resolve() for name in error.target_infos]
            missing = sorted(path.relative_to(project).as_posix() for path in paths)
            needed = [path for path in missing if not path.startswith(MADE_ANEW)]
            if needed:
                raise RunError(_describe_missing(run, needed)) from None


def _describe_missing(run: Run, missing: list[str]) -> str:
    names = ", ".join(missing[:NUM_NAMED])
    more = f" and {len(missing) - NUM_NAMED} more" if len(missing) > NUM_NAMED else ""
    return (
        f"{run.describe()}: {names}{more}: not in the DVC cache here; bring what was shared with: "
        f"make receive REMOTE=... RUN={run.experiment or run.commit}"
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"git {' '.join(arguments)} failed: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
