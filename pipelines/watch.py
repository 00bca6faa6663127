"""What `make repro` looks at before `dvc repro`, which would not see it or not say it well (ours).

Params.yaml, a project without git, a disk that is full or read-only: one sentence each, where DVC
has a trace or an error of its own. And a folder that is used in place: DVC does not see one outside
its graph, and would take an old listing from its cache, so the fetch stage is forced where the
folder changed, and what depends on it then follows by itself.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from dcal.config import DatasetConfig, load_config
from dcal.data.raw import IN_PLACE_FILE
from dcal.data.source_path import compute_listing_digest, find_path, locate_source
from dcal.disk import parts_beside, sync
from dcal.paths import raw_folder, work_root

logger = logging.getLogger(__name__)
FETCH_AGAIN = (sys.executable, "-m", "dvc", "repro", "--force", "--single-item", "fetch")
ASK_NO_SCM = (sys.executable, "-m", "dvc", "config", "core.no_scm")
# DVC's lock file, MLflow's database and a log need more, a run far more.
PROBE_BYTES = 1 << 20


class ProjectError(ValueError):
    """A project that DVC cannot run in; the message says what to do."""


def main() -> None:
    """Check the project, and compare a folder used in place with its last listing."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        dataset = load_config("params.yaml").dataset
        require_git()
        require_room(Path.cwd() / "dvc.lock")
        require_room(work_root() / "mlflow.db")
        changed = has_changed(dataset)
    except (ValueError, OSError) as error:
        sys.exit(f"watch: {error}")
    if changed:
        logger.info("%s changed since it was fetched", dataset.source)
        sys.exit(subprocess.run(FETCH_AGAIN).returncode)


def require_git() -> None:
    """Check that DVC finds git, or was told to do without.

    Raises:
        ProjectError: It would refuse to run.
    """
    here = Path.cwd()
    if any((folder / ".git").exists() for folder in (here, *here.parents)):
        return
    asked = subprocess.run(ASK_NO_SCM, capture_output=True, text=True)
    if asked.stdout.strip().lower() != "true":
        raise ProjectError(
            f"{here}: expected a git repository, and found none; run: git init, or to work without "
            "git (no commit is noted with a run): dvc config --local core.no_scm true"
        )


def require_room(path: Path) -> None:
    """Write a little beside a file that the run will write.

    Raises:
        WriteError: The disk is full, or the place is read-only or forbidden.
    """
    with parts_beside(path) as parts:
        temporary = parts.make_file(suffix=".probe")
        temporary.write_bytes(bytes(PROBE_BYTES))
        sync(temporary)


def has_changed(dataset: DatasetConfig) -> bool:
    """Say whether a folder that was listed before looks different now, or an archive is newer.

    Raises:
        FileNotFoundError: The folder is gone.
    """
    fetched = raw_folder(dataset.name)
    record = fetched / IN_PLACE_FILE
    if dataset.source is None or not fetched.is_dir():
        return False
    if not record.is_file():
        # Of an archive that was unpacked and may be gone since.
        archive = find_path(dataset.source)
        return archive is not None and archive.stat().st_mtime > fetched.stat().st_mtime
    folder = locate_source(dataset)
    found = {"path": str(folder), "listing_sha256": compute_listing_digest(folder)}
    return bool(json.loads(record.read_text(encoding="utf-8")) != found)


if __name__ == "__main__":
    main()
