"""What every test runs under: one thread, no network, and a work root of its own."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.experiments import run_experiments
from tests.project import STAGES, Project, clone

# Before torch is imported: beside other workers, threads of OpenMP spin against each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.update(
    DO_NOT_TRACK="1",
    DVC_NO_ANALYTICS="1",
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    MPLBACKEND="agg",
)


# Files of whole minutes: begun last, they would keep one core busy and leave the other idle.
LONGEST = (
    "test_interruptions.py",
    "test_sharing.py",
    "test_tuning_workers.py",
    "test_documents.py",
    "test_real_pictures.py",
    "test_dvc_tables.py",
    "test_tuning.py",
    "test_ablation.py",
    "test_pipelines.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; --no-loadscope-reorder keeps to that."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def own_work_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep databases and checkpoints of a test out of the repository and of the user's server."""
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "work"))
    for variable in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def keep_denormals() -> Iterator[None]:
    """Undo for the next test what stages do for the whole process; hypothesis draws denormals."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def repository() -> Path:
    """Return the folder that holds dvc.yaml."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def empty_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database without a study, made once: that takes longer than most tests."""
    from dcal.tuning.storage import initialise_database

    root = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DCAL_WORK_ROOT", str(root))
        monkeypatch.delenv("DCAL_OPTUNA_URL", raising=False)
        initialise_database()
    return root / "optuna.db"


@pytest.fixture
def ready_studies(empty_studies: Path, tmp_path: Path, own_work_root: None) -> None:
    """Give the test's work root a database."""
    (tmp_path / "work").mkdir()
    shutil.copy(empty_studies, tmp_path / "work" / "optuna.db")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a clone whose whole pipeline ran once at smoke size; do not change it, copy it."""
    return make_once("finished", tmp_path_factory, run_whole("preset=smoke"))


@pytest.fixture(scope="session")
def finished_reid(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a clone whose Re-ID pipeline ran once at smoke size; do not change it, copy it."""
    arguments = ("preset=reid", "dataset=vehicles_smoke", "train.epochs=2")
    return make_once("finished_reid", tmp_path_factory, run_whole(*arguments))


@pytest.fixture(scope="session")
def experimented(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of `finished` that also ran README's experiments; do not change it, copy it."""
    make = functools.partial(run_experiments, finished)
    return make_once("experimented", tmp_path_factory, make)


def run_whole(*arguments: str) -> Callable[[Project], None]:
    """Return what clones the project and runs its whole pipeline."""

    def make(project: Project) -> None:
        clone(project.folder)
        project.compose(*arguments)
        assert project.repro() == STAGES

    return make


def make_once(
    name: str, factory: pytest.TempPathFactory, make: Callable[[Project], None]
) -> Project:
    """Return this worker's own copy of a project that the first of all workers made."""
    base = factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    done = common / f"{name}.done"
    project = Project(common / f"{name}_by_one")
    with FileLock(done.with_suffix(".lock")):
        if not done.exists():
            make(project)
            done.touch()
    return project.copy(factory.mktemp(name) / "project")


@pytest.fixture(scope="session")
def grocery_archive() -> Path:
    """Return real photographs in folders of classes."""
    return find_real_data("grocery.tar")


@pytest.fixture(scope="session")
def fruit_turn_archive() -> Path:
    """Return real photographs of identities, named as those of Market-1501."""
    return find_real_data("fruit_turn.tar")


def find_real_data(name: str) -> Path:
    """Return a file of `$DCAL_REAL_DATA`, or of shared/data beside the checkout."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    archive = Path(os.environ.get("DCAL_REAL_DATA") or beside) / name
    if not archive.is_file():
        pytest.skip(f"no real photographs: {archive} is not there; set DCAL_REAL_DATA")
    return archive
