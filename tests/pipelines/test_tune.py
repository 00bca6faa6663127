"""A study whose trials train: its states in Optuna and in MLflow, its disk, what it hands on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import yaml
from mlflow.entities import Run
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from dcal.config import load_config
from dcal.models import build_model
from dcal.models.cost import count_forward_macs
from dcal.tracking.store import connect
from dcal.training.checkpoints import list_folders
from dcal.tuning.effects import IDLE
from dcal.tuning.errors import TuningError
from dcal.tuning.progress import find_origin, list_counted
from dcal.tuning.results import build_trials_table, describe_state
from dcal.tuning.scores import list_scores
from dcal.tuning.storage import Heartbeat
from pipelines.choices import ChoiceError
from pipelines.compose import compose_tree
from pipelines.train import WITHOUT_EFFECT
from pipelines.trainings import count_inference_gmacs, find_folder, make_run_key
from pipelines.tune import __main__ as tune
from pipelines.tune.best import RESULTS, render_best
from pipelines.tune.choose import CHOICE
from pipelines.tune.study import (
    Search,
    open_search,
    settle_runs,
    track_study,
)
from tests.pipelines.tuned import SCORE, SPACE, make_tuning_project, write_plan

COST = "cost/inference_gmacs"
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
LR = {"kind": "categorical", "choices": [1e-3, 1e30, 1e-4]}


class Pruned(BasePruner):
    """Find one trial behind."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return trial.number == 3


class Ran(NamedTuple):
    """A study that was run, and where."""

    folder: Path
    search: Search


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Run a study with a trial that breaks, and one that is pruned after its first epoch."""
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DCAL_WORK_ROOT", str(folder / "work"))
        for variable in ("DCAL_OPTUNA_URL", "MLFLOW_TRACKING_URI", "DVC_ROOT"):
            monkeypatch.delenv(variable, raising=False)
        make_tuning_project(folder, monkeypatch, clip_norm=None)
        path = write_plan(
            {**SPACE, "train.lr": LR},
            budget={"num_trials": 4, "minutes": None},
            enqueue=[{"train.lr": 1e30}, {"train.lr": 1e-4}],
        )

        def open_with_pruner(*arguments: Any, **options: Any) -> Search:
            search = open_search(*arguments, **options)
            search.study.pruner = Pruned()
            return search

        monkeypatch.setattr(tune, "open_search", open_with_pruner)
        yield Ran(folder, tune.run(path))


@pytest.fixture
def study(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Return the study that was run, in its folder."""
    monkeypatch.chdir(ran.folder)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(ran.folder / "work"))
    return ran.search


def list_runs(kind: str) -> list[Run]:
    """Return the runs of a kind in MLflow."""
    client = connect()
    experiment = client.get_experiment_by_name("birds")
    assert experiment is not None
    query = f"tags.`dcal.kind` = '{kind}'"
    return list(client.search_runs([experiment.experiment_id], query, max_results=999))


def find_runs(number: int) -> list[Run]:
    """Return the runs of a trial."""
    return [r for r in list_runs("trial") if r.data.tags["dcal.trial_number"] == str(number)]


def assert_states_agree(search: Search) -> None:
    """Compare Optuna's states with MLflow's: one run a trial, below the study's."""
    (parent,) = list_runs("study")
    trials = list_counted(search.study.get_trials(deepcopy=False))
    assert len(list_runs("trial")) == len(trials)
    for trial in trials:
        (run,) = find_runs(find_origin(trial))
        state, _ = describe_state(trial)
        assert (run.data.tags["dcal.trial_state"], run.info.status) == (state, STATUS[state])
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_each_trial_has_one_run_in_its_true_state_below_the_study(study: Search) -> None:
    assert_states_agree(study)
    table = pd.read_csv(RESULTS / "trials.csv")
    assert table["state"].tolist() == ["complete", "complete", "failed", "pruned"]
    (parent,) = list_runs("study")
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name.startswith("study finches r")


def test_a_trial_that_broke_says_where_and_one_that_was_behind_says_when(study: Search) -> None:
    table = pd.read_csv(RESULTS / "trials.csv")
    assert "became infinite or no number at step" in table["reason"][2]
    assert table["reason"][3] == "behind after 1 epochs" and table["epochs"][3] == 1
    (broken,), (pruned,) = find_runs(2), find_runs(3)
    assert "became infinite or no number" in broken.data.tags["dcal.trial_reason"]
    assert pruned.data.tags["dcal.trial_reason"] == "after 1 epochs"


def test_a_trials_run_has_its_parameters_its_curves_and_its_value(study: Search) -> None:
    table = pd.read_csv(RESULTS / "trials.csv")
    client = connect()
    for number in (0, 1):
        (run,) = find_runs(number)
        row = table.iloc[number]
        assert run.data.params["model.readout"] == row["model.readout"]
        assert float(run.data.params["train.lr"]) == row["train.lr"]
        points = client.get_metric_history(run.info.run_id, SCORE)
        assert len(points) == 2  # epochs
        assert row[SCORE] == run.data.metrics[f"selected/{SCORE}"] == max(p.value for p in points)
        assert run.data.tags["dcal.checkpoints"].startswith("checkpoints/")


def test_the_scores_that_a_plan_may_name_are_those_of_a_trial(study: Search) -> None:
    (run,) = find_runs(1)
    found = {key.removeprefix("selected/") for key in run.data.metrics if "selected/" in key}
    assert found == set(list_scores("fgvc"))


def test_the_cost_is_that_of_inference(study: Search) -> None:
    config = load_config("params.yaml")
    model = build_model(config.model, num_classes=4)
    cost = count_forward_macs(model)
    assert count_inference_gmacs(model) == pytest.approx((sum(cost) - cost.pwca) / 1e9)
    (run,) = find_runs(1)
    assert run.data.metrics[COST] == pytest.approx(count_inference_gmacs(model))


def test_no_trial_that_ended_keeps_its_checkpoints(study: Search) -> None:
    assert list_folders() == []


def test_training_is_left_as_it_was(study: Search) -> None:
    assert pd.read_csv("results/train/history.csv").shape[0] > 50  # made up
    assert Path("runs/train/model.safetensors").is_file()


def test_the_last_round_is_on_fresh_seeds_and_the_best_mean_wins(study: Search) -> None:
    final = pd.read_csv(RESULTS / "final.csv")
    assert final["configuration"][0].startswith("paper, trial 0")
    assert (final["num_seeds"] == 2).all()
    seeds = [run.data.params["seed"] for run in list_runs("final")]
    assert sorted(set(seeds)) == ["1", "2"] and len(seeds) == 2 * len(final)
    assert {run.info.status for run in list_runs("final")} == {"FINISHED"}
    winner = final.loc[final["mean"].idxmax()]
    text = (RESULTS / "best.yaml").read_text()
    assert f"the settings that won study finches: {winner['configuration']}." in text
    # Of this few pictures two seeds may get as many right, and equal scores have no interval.
    is_known = pd.notna(winner["half_interval_95"])
    assert f"{SCORE} {winner['mean']:.4f} {'+- ' if is_known else 'over 2 fresh seeds'}" in text


def test_pictures_are_written_and_shown_on_the_study(study: Search) -> None:
    names = {path.stem for path in Path("runs/tune").glob("*.png")}
    assert {"history", "parallel", "slice_model.top_r", "slice_train.lr"} <= names
    (parent,) = list_runs("study")
    shown = {Path(f.path).stem for f in connect().list_artifacts(parent.info.run_id, "figures")}
    assert shown == names
    files = {Path(f.path).name for f in connect().list_artifacts(parent.info.run_id, "tune")}
    assert files == {path.name for path in RESULTS.iterdir()}


def test_what_won_becomes_params_yaml(study: Search, repository: Path) -> None:
    base = compose_tree([], repository / "experiments")
    experiments = Path("experiments")
    for path in (repository / "experiments").iterdir():
        if not (experiments / path.name).exists():
            (experiments / path.name).symlink_to(path)
    tree = compose_tree(["tune=best", "seed=9"], experiments)
    final = pd.read_csv(RESULTS / "final.csv")
    overrides: dict[str, Any] = json.loads(final["overrides"][final["mean"].idxmax()])
    assert tree["seed"] == 9 and tree["dataset"] == base["dataset"]
    for key, value in overrides.items():
        section, name = key.split(".")
        assert tree[section][name] == value


def test_a_study_that_is_run_again_trains_nothing(
    study: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in RESULTS.iterdir()}

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr("pipelines.trainings.fit", refuse)
    search = tune.run(Path("experiments/tune/finches.yaml"))
    assert {path.name: path.read_bytes() for path in RESULTS.iterdir()} == before
    assert_states_agree(search)


def test_a_trial_that_left_nothing_said_gets_its_run_and_its_disk_is_freed(study: Search) -> None:
    # As after the last retry of a trial whose process dies each time.
    from optuna.trial import TrialState, create_trial

    study.study.add_trial(create_trial(state=TrialState.FAIL))
    number = len(study.study.trials) - 1
    folder = find_folder("f" * 12, make_run_key(study.ground.parent_key, f"trial {number}"))
    with folder.hold(), folder.write(step=1) as path:
        path.write_text("weights")
    with track_study(study):
        settle_runs(study)
    assert_states_agree(study)
    (run,) = find_runs(number)
    assert "its process died" in run.data.tags["dcal.trial_reason"]
    assert list_folders() == []


def test_a_study_on_the_test_split_is_refused_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tuning_project(tmp_path, monkeypatch, selection="test")
    with pytest.raises(TuningError, match=r"on the held-out split.*train\.selection=test"):
        open_search(write_plan(), should_stop=lambda: None)


def test_what_all_trials_have_otherwise_is_no_part_of_what_won(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tuning_project(tmp_path, monkeypatch)
    path = write_plan(base={"train.epochs": 1}, final={"num_configs": 0, "num_seeds": 1})
    search = open_search(path, should_stop=lambda: None)
    assert search.base.train.epochs == 1
    trials = build_trials_table(search.study, search.plan.study)
    winner = pd.Series(
        {
            "metric": SCORE,
            "mean": 0.5,
            "half_interval_95": float("nan"),
            "num_seeds": 1,
            "configuration": "config",
            "overrides": "{}",
        }
    )
    text = render_best(winner, trials, search.plan)
    assert f"# Expected: {SCORE} 0.5000 over 1 fresh seed, trained with train.epochs=1." in text
    assert yaml.safe_load(text) == {}
    winner["half_interval_95"] = 0.025
    text = render_best(winner, trials, search.plan)
    assert f"# Expected: {SCORE} 0.5000 +- 0.0250 (95 %) over 1 fresh seed," in text


def test_a_study_of_accuracy_and_cost_hands_on_its_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tuning_project(tmp_path, monkeypatch, warmup_epochs=0.0)
    path = write_plan(
        {"model.glca_blocks": {"kind": "int", "low": 1, "high": 3}},
        base={"train.epochs": 1},
        objectives={SCORE: "maximize", COST: "minimize"},
        budget={"num_trials": 2, "minutes": None},
        enqueue=[{"model.glca_blocks": 3}],
        final={"num_configs": 1, "num_seeds": 1},
    )
    search = tune.run(path)
    table = pd.read_csv(RESULTS / "trials.csv")
    assert table["model.glca_blocks"].tolist() == [1, 3]
    assert table[COST][0] < table[COST][1]
    assert table["epochs"].tolist() == [1, 1]
    assert Path("runs/tune/front_cost_inference_gmacs.png").is_file()
    front = pd.read_csv(RESULTS / "pareto.csv")
    assert set(front["number"]) == {trial.number for trial in search.study.best_trials}
    final = pd.read_csv(RESULTS / "final.csv")
    assert final["configuration"][0].startswith("paper, config, trial 0")
    assert final[COST][0] == pytest.approx(table[COST][0])
    assert_states_agree(search)


def test_a_plan_is_chosen_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_plan()
    CHOICE.path.parent.mkdir(parents=True)
    CHOICE.path.write_text("# Why.\nplan: wrens\n")
    CHOICE.write("finches")
    assert CHOICE.path.read_text() == "# Why.\nplan: finches\n"
    assert CHOICE.find() == Path("experiments/tune/finches.yaml")
    with pytest.raises(TuningError, match=r"finchs.yaml: no such file, did you mean finches\?"):
        CHOICE.write("finchs")
    with pytest.raises(ChoiceError, match=r"PLAN=\.\./x: expected the name of a file"):
        CHOICE.write("../x")


def test_an_interrupted_study_goes_on_with_the_same_trial_run_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tuning_project(tmp_path, monkeypatch)
    path = write_plan(budget={"num_trials": 1, "minutes": None})
    asked: list[int] = []

    def stop_in_the_second_epoch() -> str | None:
        asked.append(1)
        return "got SIGTERM" if len(asked) == 4 else None

    heartbeat = Heartbeat(1, 3)
    search = open_search(path, should_stop=stop_in_the_second_epoch, heartbeat=heartbeat)
    with pytest.raises(KeyboardInterrupt), track_study(search):
        search.worker.run()
    (run,) = find_runs(0)
    assert (run.info.status, run.data.tags["dcal.trial_state"]) == ("KILLED", "interrupted")
    (folder,) = list_folders()
    step = folder.list_checkpoints()[0].step
    assert step > 0
    search = open_search(path, should_stop=lambda: None, heartbeat=heartbeat)
    with track_study(search):
        search.worker.run()
        settle_runs(search)
    assert_states_agree(search)
    assert list_folders() == []
    (again,) = find_runs(0)
    assert again.info.run_id == run.info.run_id
    for key in ("train/loss", SCORE):
        points = connect().get_metric_history(again.info.run_id, key)
        steps = [point.step for point in points]
        assert steps == sorted(set(steps))


def test_keys_that_change_no_score_are_those_that_no_fingerprint_has() -> None:
    assert set(IDLE) == {f"train.{key}" for key in WITHOUT_EFFECT["train"]}
