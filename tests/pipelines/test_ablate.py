"""A grid that trains: its tables, its runs in MLflow, and how it goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import yaml

from dcal.ablation.grid import GridError
from dcal.config import load_config
from dcal.training.checkpoints import CheckpointFolder, list_folders
from dcal.tuning.errors import TuningError
from pipelines import evaluate, train, trainings
from pipelines.ablate import __main__ as ablate
from pipelines.ablate import run as running
from pipelines.ablate.results import ASIDE, RESULTS
from pipelines.ablate.run import Ablation, open_ablation
from pipelines.ablate.scores import collect_curves
from tests.pipelines.scored import write_params
from tests.pipelines.test_reid import TRAIN as REID
from tests.pipelines.test_reid import make_vehicles
from tests.pipelines.test_tune import list_runs
from tests.pipelines.tuned import make_tuning_project

ROOT = Path(__file__).resolve().parents[2]
GRID: dict[str, Any] = {
    "question": "Why?",
    "baseline": "dcal",
    "arms": ["sa_only"],
    "vary": {"train.lr": [1e30]},
    "same_time": ["sa_only"],
    "seeds": [0, 7],
    "hours": None,
}


class Ran(NamedTuple):
    """A grid that was run, and where."""

    folder: Path
    ablation: Ablation
    trained: list[str]


@pytest.fixture(autouse=True)
def default_storage(monkeypatch: pytest.MonkeyPatch, ready_studies: None) -> None:
    """Keep what grids share out of the user's database."""
    monkeypatch.delenv("DCAL_OPTUNA_URL", raising=False)


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """Prepare birds and write a grid of two seeds; return its path."""
    monkeypatch.setenv("DCAL_WORK_ROOT", str(folder / "work"))
    for variable in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    make_tuning_project(folder, monkeypatch, clip_norm=None)
    monkeypatch.setattr(running, "OPTIONS", ROOT / "experiments" / "ablation")
    monkeypatch.setattr(running, "measure_epoch_ratio", lambda *args, **options: 1.5)
    return write_grid(**changes)


def write_grid(name: str = "mine", **changes: Any) -> Path:
    path = Path("experiments/grid") / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**GRID, **changes}), encoding="utf-8")
    return path


def note_trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that the name of each training is added to."""
    names: list[str] = []
    original = running.train

    def noting(job: Any, *args: Any) -> dict[str, float]:
        names.append(job.name)
        return original(job, *args)

    monkeypatch.setattr(running, "train", noting)
    return names


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, empty_studies: Path) -> Iterator[Ran]:
    """Run a grid with an arm whose loss is no number."""
    folder = tmp_path_factory.mktemp("ablated")
    (folder / "work").mkdir()
    shutil.copy(empty_studies, folder / "work" / "optuna.db")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("DCAL_OPTUNA_URL", raising=False)
        path = prepare(folder, monkeypatch)
        names = note_trainings(monkeypatch)
        yield Ran(folder, ablate.run(path), names)


@pytest.fixture
def project(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Return the grid that was run, in its folder."""
    monkeypatch.chdir(ran.folder)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(ran.folder / "work"))
    return ran


def test_every_arm_is_trained_with_every_seed_one_seed_after_the_other(project: Ran) -> None:
    arms = ["dcal", "sa_only", "lr=1e+30", "sa_only_same_time"]
    assert project.trained == [f"{arm}, seed {seed}" for seed in (0, 7) for arm in arms]
    trainings = pd.read_csv(RESULTS / "mine" / "trainings.csv")
    assert trainings["epochs"].tolist() == 2 * [2, 2, 2, 3]
    assert trainings["fingerprint"].nunique() == 8
    assert list_folders() == []  # nothing is left of their checkpoints


def test_the_tidy_table_follows_from_the_scores(project: Ran) -> None:
    folder = RESULTS / "mine"
    scores, table = pd.read_csv(folder / "scores.csv"), pd.read_csv(folder / "table.csv")
    assert set(scores["arm"]) == {"dcal", "sa_only", "sa_only_same_time"}
    of = scores[(scores["metric"] == "top1_accuracy")].set_index(["arm", "branch", "seed"])["value"]
    assert set(of["dcal"].index.get_level_values("branch")) == {"sa", "glca", "both"}
    assert set(of["sa_only"].index.get_level_values("branch")) == {"sa"}
    row = table.set_index(["arm", "branch", "metric"]).loc[("sa_only", "sa", "top1_accuracy")]
    assert row["mean"] == pytest.approx(of["sa_only"].mean())
    differences = [of["sa_only", "sa", seed] - of["dcal", "both", seed] for seed in (0, 7)]
    assert row["difference"] == pytest.approx(sum(differences) / 2, abs=1e-6)
    assert row["num_pairs"] == 2


def test_sa_alone_at_test_is_a_row_of_the_baseline(project: Ran) -> None:
    table = pd.read_csv(RESULTS / "mine" / "table.csv")
    rows = table[(table["arm"] == "dcal") & (table["metric"] == "top1_accuracy")]
    compared = rows.set_index("branch")["difference"]
    assert compared.notna().to_dict() == {"sa": True, "glca": True, "both": False}


def test_the_head_says_what_the_tables_are_of(project: Ran) -> None:
    head = json.loads((RESULTS / "mine" / "grid.json").read_text())
    config = load_config("params.yaml")
    assert head["arms"]["sa_only"] == {"model.glca_blocks": 0, "model.pwca_blocks": 0}
    assert head["arms"]["sa_only_same_time"]["train.epochs"] == 3
    assert (head["num_planned"], head["num_done"], head["seeds"]) == (8, 8, [0, 7])
    assert head["dataset"] == config.dataset.name and head["is_drawn"]
    assert head["epoch_time_ratios"] == {"sa_only": 1.5}
    assert str(project.folder) not in json.dumps(head)


def test_a_loss_that_is_no_number_is_told_and_not_tried_again(project: Ran) -> None:
    trainings = pd.read_csv(RESULTS / "mine" / "trainings.csv")
    failed = trainings[trainings["arm"] == "lr=1e+30"]
    assert failed["reason"].str.contains("no number|not finite|nan", case=False).all()
    assert trainings["reason"].notna().sum() == 2


def test_each_training_is_a_run_below_the_grids_in_its_true_state(project: Ran) -> None:
    (parent,) = list_runs("grid")
    assert parent.info.status == "FINISHED"
    runs = list_runs("ablation")
    assert len(runs) == 8
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    status = {run.data.tags["dcal.arm"]: run.info.status for run in runs}
    assert status["lr=1e+30"] == "FAILED" and status["dcal"] == "FINISHED"
    of = {(run.data.tags["dcal.arm"], run.data.tags["dcal.seed"]): run.data for run in runs}
    for row in pd.read_csv(RESULTS / "mine" / "scores.csv").itertuples():
        logged = of[row.arm, str(row.seed)].metrics[f"test/{row.branch}/{row.metric}"]
        assert logged == pytest.approx(row.value, rel=1e-5)


def test_a_second_run_trains_nothing_and_writes_the_same(
    project: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = note_trainings(monkeypatch)
    monkeypatch.setattr(running, "OPTIONS", ROOT / "experiments" / "ablation")
    before = {path.name: path.read_bytes() for path in (RESULTS / "mine").iterdir()}
    ablate.run(Path("experiments/grid/mine.yaml"))
    assert names == []
    assert {path.name: path.read_bytes() for path in (RESULTS / "mine").iterdir()} == before


def test_another_grid_does_not_train_the_same_baseline_again(
    project: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = note_trainings(monkeypatch)
    monkeypatch.setattr(running, "OPTIONS", ROOT / "experiments" / "ablation")
    path = write_grid("other", arms=["no_glca"], vary={}, same_time=[], seeds=[7])
    ablate.run(path)
    assert names == ["no_glca, seed 7"]


def test_hours_end_a_training_and_the_next_start_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0], hours=1.0)
    names = note_trainings(monkeypatch)
    now = [0.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: now[0])
    original = running.collect_curves

    def spend(history: pd.DataFrame) -> list[dict[str, Any]]:
        now[0] = 4000.0  # the first training took all of it
        return original(history)

    monkeypatch.setattr(running, "collect_curves", spend)
    with pytest.raises(ablate.UnfinishedError, match=r"1 of 2 trainings are done, and the hours"):
        ablate.run(path)
    assert names == ["dcal, seed 0"]
    (parent,) = list_runs("grid")
    assert parent.info.status == "KILLED"
    head = json.loads((RESULTS / "mine" / "grid.json").read_text())
    assert (head["num_done"], head["num_planned"]) == (1, 2)
    ablate.run(path)
    assert names == ["dcal, seed 0", "sa_only, seed 0"]
    (parent,) = list_runs("grid")
    assert parent.info.status == "FINISHED"


def test_results_of_other_parameters_are_set_aside_and_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0])
    ablate.run(path)
    before = {file.name: file.read_bytes() for file in (RESULTS / "mine").iterdir()}
    ablate.run(write_grid(vary={}, same_time=[], seeds=[0, 7]))  # more of the same
    assert not ASIDE.exists()
    more = {file.name: file.read_bytes() for file in (RESULTS / "mine").iterdir()}
    assert more != before
    changed = write_grid(vary={}, same_time=[], seeds=[0], base={"train.lr": 0.002})
    ablate.run(changed)
    (aside,) = ASIDE.iterdir()
    assert {file.name: file.read_bytes() for file in aside.iterdir()} == more
    assert "was of other data, parameters or code, and is now runs/ablate-replaced" in caplog.text
    assert json.loads((RESULTS / "mine" / "grid.json").read_text())["num_done"] == 2


def test_tables_say_what_is_planned_now_even_if_nothing_new_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablate.run(prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0]))
    with pytest.raises(ablate.UnfinishedError, match="2 of 4 trainings are done, and the hours"):
        ablate.run(write_grid(vary={}, same_time=[], seeds=[0, 7], hours=1e-9))
    head = json.loads((RESULTS / "mine" / "grid.json").read_text())
    assert (head["num_planned"], head["num_done"], head["seeds"]) == (4, 2, [0, 7])


def test_hours_that_end_in_the_middle_of_a_training_end_the_grid_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0])

    def stop(*args: Any) -> dict[str, float]:
        raise KeyboardInterrupt(f"training stopped: {running.SPENT}; a checkpoint is kept")

    monkeypatch.setattr(running, "train", stop)
    with pytest.raises(ablate.UnfinishedError, match="0 of 2 trainings are done, and the hours"):
        ablate.run(path)

    def interrupt(*args: Any) -> dict[str, float]:
        raise KeyboardInterrupt("training stopped: interrupted; a checkpoint is kept")

    monkeypatch.setattr(running, "train", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"and it was stopped \(training stopped: inter"):
        ablate.run(path)


@pytest.mark.parametrize(
    ("owner", "step"), [(trainings, "end_run"), (CheckpointFolder, "remove_files")]
)
def test_a_kill_after_a_result_is_made_good(
    owner: object, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0])

    def die(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt("killed")

    with monkeypatch.context() as once:
        once.setattr(owner, step, die)
        with pytest.raises(KeyboardInterrupt):
            ablate.run(path)
    names = note_trainings(monkeypatch)
    ablate.run(path)
    assert names == ["sa_only, seed 0"]
    assert [run.info.status for run in list_runs("ablation")] == ["FINISHED", "FINISHED"]
    assert list_folders() == []


def test_a_mistake_in_the_last_arm_is_found_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={"model.glca_blocks": [2, 99]}, same_time=[])
    names = note_trainings(monkeypatch)
    with pytest.raises(ValueError, match=r"model.glca_blocks: expected 0 to 5"):
        ablate.run(path)
    assert names == []


def test_a_training_that_runs_out_of_memory_ends_the_grid_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0])

    def run_out(*args: Any) -> dict[str, float]:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(running, "train", run_out)
    with pytest.raises(GridError, match=r"dcal, seed 0: memory ran out \(.*smaller train.batch"):
        ablate.run(path)
    assert not list((tmp_path / "work" / "runs" / "ablate").glob("*.json"))


def test_the_ratio_of_epoch_times_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={})
    first = open_ablation(path, should_stop=lambda: None)
    monkeypatch.setattr(running, "measure_epoch_ratio", lambda *args, **options: 9.0)
    second = open_ablation(path, should_stop=lambda: None)
    assert first.ratios == second.ratios == {"sa_only": 1.5}


@pytest.mark.slow
def test_what_a_worker_elsewhere_trained_is_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, seeds=[0])
    shared = f"sqlite:///{tmp_path / 'work'}"
    monkeypatch.setenv("DCAL_OPTUNA_URL", f"{shared}/optuna.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{shared}/mlflow.db")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DCAL_WORK_ROOT", str(tmp_path / "elsewhere"))
        there = ablate.run(path, helps=True)
    assert not RESULTS.exists()
    assert [run.info.status for run in list_runs("grid")] == ["RUNNING"]
    names = note_trainings(monkeypatch)
    monkeypatch.setattr(running, "measure_epoch_ratio", lambda *args, **options: 9.0)
    here = ablate.run(path)
    assert names == [] and here.ratios == there.ratios == {"sa_only": 1.5}
    assert len(pd.read_csv(RESULTS / "mine" / "trainings.csv")) == 3
    assert [run.info.status for run in (*list_runs("grid"), *list_runs("ablation"))] == (
        ["FINISHED"] * 4
    )


def test_a_worker_with_another_grid_or_other_parameters_is_refused_and_the_leader_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0])
    open_ablation(path, should_stop=lambda: None)
    claims = open_ablation(path, should_stop=lambda: None, helps=True).claims
    claim = claims.take()
    assert claim is not None
    write_grid(vary={}, same_time=[], seeds=[0, 1])
    said = r"^grid mine in sqlite:///optuna\.db was begun with other arms, seeds or scores \(seeds"
    with pytest.raises(TuningError, match=said + r" was 0 and is 0 1\), and .*; go back to those$"):
        open_ablation(path, should_stop=lambda: None, helps=True)
    with pytest.raises(TuningError, match=r"or end the workers that are at it with those \(a dead"):
        open_ablation(path, should_stop=lambda: None)
    with pytest.raises(KeyboardInterrupt), claims.hold(claim):
        raise KeyboardInterrupt
    open_ablation(path, should_stop=lambda: None)
    write_params(load_config("params.yaml", ["train.lr=0.5"]))
    with pytest.raises(TuningError, match=r"other parameters, data or code \(train\.lr was 0\.\d+"):
        open_ablation(path, should_stop=lambda: None, helps=True)


@pytest.mark.parametrize("kind", ["fgvc", "reid"])
def test_the_baseline_scores_what_the_stages_train_and_evaluate_score(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(tmp_path, monkeypatch, vary={}, same_time=[], seeds=[0])
    if kind == "reid":
        reid = {"triplet": "soft"}
        make_vehicles(tmp_path, monkeypatch, train=REID, loss=reid, model={"neck": "bnneck"})
    ablate.run(path)
    train.main()
    evaluate.main()
    metrics = json.loads(Path("results/evaluate/metrics.json").read_text())
    scores = pd.read_csv(RESULTS / "mine" / "scores.csv").query("arm == 'dcal'")
    assert len(scores) >= 12
    for row in scores.itertuples():
        expected = metrics[f"test/{row.branch}/{row.metric}"]
        assert row.value == pytest.approx(expected, rel=1e-5), row


def test_curves_are_means_over_an_epoch_without_what_was_not_logged() -> None:
    history = pd.DataFrame(
        {
            "step": [1, 2, 3],
            "epoch": [0.0, 0.0, 1.0],
            "train/loss": [1.0, 3.0, 5.0],
            "val/sa/loss": [None, 0.5, None],
        }
    )
    assert collect_curves(history) == [
        {"epoch": 0, "train/loss": 2.0, "val/sa/loss": 0.5},
        {"epoch": 1, "train/loss": 5.0},
    ]
