"""Pass results on through a DVC remote: `make share` and `make receive` (ours).

The remote's address is kept in .dvc/config.local, which git ignores: it may hold a path of this
machine, or a password. Outs whose `remote:` is `private` in dvc.yaml are never carried, since DVC
takes none but those of the remote it is told.
"""

from __future__ import annotations

import logging
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from dvc.exceptions import DvcException
from dvc.fs import get_cloud_fs
from dvc.repo import Repo

from dcal.config import load_config
from dcal.data.raw import raw_root
from pipelines.runs import find_run
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PIPELINE = "dvc.yaml"
NAME = "share"  # of the remote in .dvc/config.local
PRIVATE = "private"  # of the remote that is a folder of this clone
OWN_FILES = (PIPELINE, "dvc.lock", "params.yaml")
NUM_NAMED = 5
Remote = Annotated[str, typer.Argument(help="a folder, an address, or a DVC remote's name")]
RunName = Annotated[str, typer.Option("--run", help="bring this run's files into the cache alone")]


class ShareError(ValueError):
    """Something that keeps results from being passed on; one sentence that says what to do."""


@app.command()
def push(remote: Remote = "") -> None:
    """Copy what the committed results name to a remote, but for what may not be passed on."""
    run_stage(lambda: share(remote))


@app.command()
def pull(remote: Remote = "", run: RunName = "") -> None:
    """Bring what this clone's dvc.lock names from a remote."""
    run_stage(lambda: receive(remote, run))


def share(remote: str) -> None:
    """Push the workspace's outs.

    Raises:
        ConfigError: params.yaml cannot be used, so where pictures may go is not known.
        ShareError: No remote, or it cannot be written; results are missing or not committed.
    """
    load_config("params.yaml")
    with _open_project(remote, command="make share", writes=True) as (repo, name, place):
        outs = _list_outs(repo)
        shared = [out for out in outs if out.remote != PRIVATE]
        made = [out for out in shared if out.hash_info]
        if not made:
            raise ShareError("there is nothing to share: no stage has run here; run: make repro")
        _require_committed(repo)
        missing = _name_missing(made)
        if missing:
            raise ShareError(f"{missing}: not in the DVC cache; make it again with: make repro")
        _say_count(repo.push(remote=name), f"copied to {place}")
        stale = ", ".join(repo.status(targets=[PIPELINE]))
        if stale:
            logger.warning("not up to date here, so a clone will run: %s", stale)
        private = ", ".join(out.def_path for out in outs if out.remote == PRIVATE)
        if private:
            logger.warning("kept here, because dataset.remote is private: %s", private)
    logger.info("next: git push; a colleague clones and runs: make receive REMOTE=%s", place)


def receive(remote: str, run: str = "") -> None:
    """Pull the workspace's outs, or fetch those of another run into the cache.

    Raises:
        ShareError: No remote, or it does not hold what dvc.lock names.
        RunError: There is no such run.
    """
    with _open_project(remote, command="make receive", writes=False) as (repo, name, place):
        if run:
            commit = find_run(run).commit
            count = repo.fetch(revs=[commit], workspace=False, remote=name) if commit else 0
            _say_count(count, f"brought from {place}; now: make report RUN={run}")
            return
        outs = _list_outs(repo)
        if not any(out.hash_info for out in outs):
            raise ShareError(
                "there is nothing to receive: this clone has no results in dvc.lock; whoever "
                "shares them commits that file and pushes it"
            )
        stats = repo.pull(remote=name, allow_missing=True)["stats"]
        _say_count(stats["fetched"], f"brought from {place}")
        missing = _name_missing([out for out in outs if out.remote != PRIVATE])
        if missing:
            raise ShareError(
                f"{place}: {missing}: not there; whoever made the results runs: make share"
            )
        _tell_what_is_not_here(outs)


def _tell_what_is_not_here(outs: Sequence[Any]) -> None:
    private = _name_missing([out for out in outs if out.remote == PRIVATE])
    if private:
        logger.warning(
            "%s: not shared, because the pictures of this data set may not be passed on "
            "(dataset.remote is private); make them here with: dvc repro",
            private,
        )
        return
    try:
        raw_root(load_config("params.yaml").dataset)
    except FileNotFoundError as error:  # a folder that is used in place, on another machine
        logger.warning("%s", error)


@contextmanager
def _open_project(remote: str, *, command: str, writes: bool) -> Iterator[tuple[Any, str, str]]:
    """Yield the repository, the name of its remote, and how to speak of the remote."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        with Repo(".") as repo:
            name = _configure(repo, remote, command=command, writes=writes)
        with Repo(".") as repo:
            yield repo, name, hide_password(repo.config["remote"][name]["url"])
    except (DvcException, ImportError, OSError) as error:
        causes = [error, error.__cause__] if isinstance(error, DvcException) else [error]
        reason = " ".join(": ".join(str(cause) for cause in causes if cause).split())
        raise ShareError(f"{command}: DVC says: {hide_password(reason)}") from None


def hide_password(text: str) -> str:
    """Leave user and password out of the addresses in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _configure(repo: Any, remote: str, *, command: str, writes: bool) -> str:
    """Return the name of the remote to use; an address becomes one of .dvc/config.local."""
    known, default = repo.config["remote"], repo.config["core"].get("remote")
    if PRIVATE in (remote, remote or default):
        raise ShareError(
            f"REMOTE={PRIVATE}: expected a place that others reach; that one is in this clone"
        )
    name = remote or default
    if name is None:
        raise ShareError(
            f"expected a place to share through, got none; give a folder or an address once: "
            f"{command} REMOTE=/path/to/folder"
        )
    url = known[name]["url"] if name in known else remote
    if "://" not in url:
        url = str(_require_folder(url, writes=writes))
    # Before it is kept: with an address that it cannot read, DVC would refuse all else as well.
    get_cloud_fs(None, url=url)
    if name in known:
        return str(name)
    if not url.isascii():
        # DVC empties the file first, and then fails: every other remote in it would be lost.
        raise ShareError(
            f"REMOTE={remote}: expected an address in ASCII, because DVC cannot write another one "
            f"into its config; got {url}: give a link to that folder, with a plain name and place"
        )
    with repo.config.edit("local") as config:
        config["remote"].setdefault(NAME, {})["url"] = url
        config["core"]["remote"] = NAME
    return NAME


def _require_folder(text: str, *, writes: bool) -> Path:
    folder = Path(text).expanduser().resolve()
    if not folder.is_dir():
        raise ShareError(
            f"REMOTE={text}: no such folder; make it first, or give an address such as "
            "ssh://host/path or s3://bucket/path"
        )
    if folder.is_relative_to(Path.cwd()):
        raise ShareError(f"REMOTE={text}: expected a folder outside this project")
    if writes:
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ShareError(f"REMOTE={text}: nothing can be written there: {error}") from None
    return folder


def _list_outs(repo: Any) -> list[Any]:
    """Return the outs that the cache holds; git has the others."""
    return [out for stage in _list_stages(repo) for out in stage.outs if out.use_cache]


def _list_stages(repo: Any) -> list[Any]:
    """Return what a bare `dvc repro` runs; opt-in pipelines lie in files of their own."""
    return [stage for stage in repo.index.stages if stage.path_in_repo == PIPELINE]


def _name_missing(outs: Sequence[Any]) -> str:
    """Name those whose content is not, or not all, in the cache."""
    names = [out.def_path for out in outs if not out.hash_info or out.changed_cache()]
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def _require_committed(repo: Any) -> None:
    """Refuse while git lacks what the results were made from, or what tells of them."""
    stages = _list_stages(repo)
    paths = {dep.def_path for stage in stages for dep in stage.deps}
    paths |= {out.def_path for stage in stages for out in stage.outs if not out.use_cache}
    done = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all", "-z", "--"]
        + sorted({*OWN_FILES, *paths}),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ShareError(
            f"git status failed, so nothing is shared: {' '.join(done.stderr.split())}"
        )
    names = [entry[3:] for entry in done.stdout.split("\0") if entry]
    if names:
        more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
        raise ShareError(
            f"not committed, so a clone would not see it: {', '.join(names[:NUM_NAMED])}{more}; "
            "git add and git commit, then share"
        )


def _say_count(count: int, what: str) -> None:
    logger.info("%s %s", "1 file" if count == 1 else f"{count} files", what)


if __name__ == "__main__":
    app()
