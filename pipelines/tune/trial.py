"""A trial as `dcal.tuning` wants it: its epochs are told to the pruner, which may end it (ours)."""

from __future__ import annotations

from collections.abc import Mapping

from dcal.config import Config
from dcal.data.datamodule import Loaders
from dcal.tracking import Tracker
from dcal.tuning.objective import RunTrial, Trial, TrialPruned, get_frozen, report_epoch
from dcal.tuning.progress import find_origin
from pipelines.trainings import Ground, Job, Watch, train


def make_run_trial(ground: Ground, *, score_key: str) -> RunTrial:
    """Return what trains a trial of a study.

    Args:
        ground: What all trials share.
        score_key: The score by which trials are compared after each epoch.
    """

    def run_trial(config: Config, trial: Trial) -> Mapping[str, float]:
        if reason := ground.should_stop():
            raise KeyboardInterrupt(reason)
        job = describe_trial(find_origin(get_frozen(trial)), config)
        observer: list[_Observer] = []

        def make_watch(loaders: Loaders, tracker: Tracker) -> Watch:
            observer.append(_Observer(trial, config, loaders, tracker, ground, score_key))
            return Watch(observer[0].log_metrics, observer[0].should_stop)

        return train(job, ground, make_watch)

    return run_trial


def describe_trial(number: int, config: Config) -> Job:
    """Return the job of a trial; its number is that of its first attempt."""
    return Job(f"trial {number}", "trial", config, {"dcal.trial_number": str(number)})


class _Observer:
    """Hears the points of a trial and asks the pruner after each epoch."""

    def __init__(
        self,
        trial: Trial,
        config: Config,
        loaders: Loaders,
        tracker: Tracker,
        ground: Ground,
        score_key: str,
    ) -> None:
        self._trial = trial
        self._num_epochs = config.train.epochs
        self._steps = -(-len(loaders.train) // config.train.accumulate_steps)
        self._tracker = tracker
        self._ground = ground
        self._score_key = score_key
        self._pruned: TrialPruned | None = None

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        """Pass a point on; the scores of an epoch go to the pruner, too."""
        self._tracker.log_metrics(values, step)
        if self._score_key not in values:
            return
        epoch = round(step / self._steps)
        try:
            report_epoch(self._trial, epoch, values[self._score_key])
        except TrialPruned as error:
            # What has trained to its end has a value, and nothing is saved by throwing it away.
            if epoch < self._num_epochs:
                self._pruned = error

    def should_stop(self) -> str | None:
        """Return why the training should end.

        Raises:
            TrialPruned: The trial is behind; there is nothing to save for later.
        """
        if self._pruned is not None:
            raise self._pruned
        return self._ground.should_stop()
