"""A study from its plan to its last round, and the MLflow run that it is shown as (ours)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dcal.config import Config, load_config
from dcal.data.datamodule import Loaders, open_pictures
from dcal.tracking import Tracker, describe_environment, read_last_words
from dcal.training.fit import choose_scored_split
from dcal.training.resume import ShouldStop
from dcal.training.runtime import resolve_runtime
from dcal.tuning.driver import OVERRIDES, Worker
from dcal.tuning.errors import TuningError
from dcal.tuning.final import choose_finalists, score_finalists
from dcal.tuning.locks import take_turn
from dcal.tuning.objective import Study
from dcal.tuning.plan import Plan, check_plan, find_base, load_plan
from dcal.tuning.progress import find_origin, list_counted
from dcal.tuning.results import describe_state, has_told
from dcal.tuning.space import apply
from dcal.tuning.storage import Heartbeat, open_storage
from dcal.tuning.study import find_study_key, open_study
from pipelines.origins import compute_origins, describe_origins
from pipelines.parent_run import track_parent
from pipelines.run_states import END_STATUS, STATE_TAG, STATES, end_run
from pipelines.train import compute_run_fingerprint
from pipelines.trainings import (
    Ground,
    Job,
    Watch,
    build,
    free_checkpoints,
    make_run_key,
    open_job_run,
    train,
)
from pipelines.tune.trial import describe_trial, make_run_trial

logger = logging.getLogger(__name__)


class Search(NamedTuple):
    """A study that is ready to run."""

    plan: Plan
    base: Config  # params.yaml, with the plan's base
    worker: Worker
    ground: Ground
    num_blocks: int  # of the backbone
    helps: bool  # another process carries out the last round

    @property
    def study(self) -> Study:
        """Return Optuna's study."""
        return self.worker.study


def open_search(
    path: Path, *, should_stop: ShouldStop, helps: bool = False, heartbeat: Heartbeat | None = None
) -> Search:
    """Begin the study of a plan, or go on with it.

    Args:
        path: The plan.
        should_stop: Asked between steps.
        helps: Whether another process carries out the last round.
        heartbeat: None = that of `dcal.tuning`.

    Raises:
        TuningError: The plan does not fit params.yaml, or the study was begun with something else.
    """
    plan = load_plan(path)
    base = find_base(plan, load_config("params.yaml"))
    pictures = open_pictures(base.dataset)
    loaders, model = build(base, pictures)
    _require_held_out(base, loaders)
    check_plan(plan, base, num_blocks=model.num_blocks)
    storage = open_storage(heartbeat)
    study = open_study(
        storage,
        plan,
        base,
        num_blocks=model.num_blocks,
        fingerprints=compute_origins(base, pictures),
        described=describe_origins(base, pictures),
    )
    device = resolve_runtime(base.train).device_name
    ground = Ground(
        {"dcal.study": plan.study.name},
        find_study_key(study),
        pictures,
        describe_environment(device=device),
        should_stop,
    )
    run_trial = make_run_trial(ground, score_key=plan.study.score_key)
    driver = Worker(
        study, storage, plan, base, run_trial, announce=logger.info, should_stop=should_stop
    )
    return Search(plan, base, driver, ground, model.num_blocks, helps)


def track_study(search: Search) -> AbstractContextManager[Tracker]:
    """Open the study's run, which those of its trials lie below; a helper leaves it open."""
    return track_parent(
        search.base,
        search.ground,
        kind="study",
        label=f"study {search.plan.study.name}",
        closes=not search.helps,
    )


def settle_runs(search: Search) -> None:
    """See that each trial that ended has a run in its true state, and frees its disk.

    That of a trial that was never begun (it is of a size that ran out of memory), or whose process
    died, has been told nothing yet.
    """
    for trial in list_counted(search.study.get_trials(deepcopy=False)):
        if not trial.state.is_finished():
            continue
        word, reason = describe_state(trial)
        state = STATES[word]
        overrides = trial.user_attrs.get(OVERRIDES, {})
        job = describe_trial(find_origin(trial), apply(search.base, overrides))
        run_key = make_run_key(search.ground.parent_key, job.name)
        said = read_last_words(run_key)
        if said is None and has_told(trial):
            continue  # on a machine with another work root, or so long ago that it was freed
        if said is None or (said[0], said[1].get(STATE_TAG)) != (END_STATUS[state], state):
            fingerprint = compute_run_fingerprint(
                job.config, data_digest=search.ground.pictures.report.digest
            )
            end_run(open_job_run(job, search.ground, fingerprint=fingerprint), state, reason=reason)
        free_checkpoints(run_key)


def run_final_round(search: Search) -> pd.DataFrame:
    """Train the best settings, the paper's and the config as it is on fresh seeds; see `final`.

    Where another process does so for this study, as after `make tune` on two machines, its scores
    are waited for.
    """

    def train_final(config: Config, name: str) -> Mapping[str, float]:
        if reason := search.ground.should_stop():
            raise KeyboardInterrupt(reason)
        logger.info("last round: %s", name)
        return train(Job(f"final {name}", "final", config), search.ground, _watch_only)

    def _watch_only(loaders: Loaders, tracker: Tracker) -> Watch:
        return Watch(tracker.log_metrics, search.ground.should_stop)

    def say() -> None:
        name = search.plan.study.name
        logger.info("another process carries out the last round of %s; waiting for it", name)

    finalists = choose_finalists(
        search.study, search.plan, search.base, num_blocks=search.num_blocks
    )
    turn = f"final-{search.ground.parent_key[:8]}"
    with take_turn(turn, should_stop=search.ground.should_stop, say=say):
        return score_finalists(search.study, finalists, search.plan, search.base, train_final)


def _require_held_out(base: Config, loaders: Loaders) -> None:
    split, loader = choose_scored_split(base, loaders)
    if split != "val" or loader is None:
        raise TuningError(
            "a study compares its trials on the held-out split, which must be there: set "
            "dataset.val_ratio above 0 and train.selection to val or last; got "
            f"train.selection={base.train.selection}"
        )
