"""Times of epochs, compared in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcal.ablation import epoch_time
from dcal.ablation.epoch_time import measure_epoch_ratio
from dcal.config import Config, load_config
from dcal.data.datamodule import Loaders, open_pictures
from dcal.models import build_model
from dcal.models.dcal import DCAL
from pipelines.trainings import build
from tests.pipelines.test_reid import TRAIN as REID
from tests.pipelines.test_reid import make_vehicles
from tests.pipelines.tuned import make_tuning_project

ROOT = Path(__file__).resolve().parents[2]


class _Stub:
    """Loaders of a given length that give nothing."""

    def __init__(self, num_train: int, num_val: int | None) -> None:
        self.train = [{}] * num_train
        self.val = None if num_val is None else [{}] * num_val
        self.test: list = []


@pytest.mark.parametrize(("num_val", "expected"), [(5, 23 / 11), (None, 3.0)])
def test_an_epoch_is_its_steps_and_its_scoring_and_the_first_pair_is_not_counted(
    num_val: int | None, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    # Seconds of a step, first config then other: a pair to warm up, then 2, 4 and 3 times as long.
    steps = iter([100.0, 1.0, 2.0, 1.0, 4.0, 1.0, 6.0, 2.0])

    def step(clock: object) -> None:
        now[0] += next(steps)

    def score(clock: object) -> None:
        now[0] += 1.0

    config = load_config(ROOT / "params.yaml", ["train.selection=last"])
    monkeypatch.setattr(epoch_time._Clock, "_step", step)
    monkeypatch.setattr(epoch_time._Clock, "_score", score)
    monkeypatch.setattr(epoch_time, "choose_scored_split", lambda c, loaders: ("val", loaders.val))
    monkeypatch.setattr(epoch_time.time, "perf_counter", lambda: now[0])
    model = build_model(config.model, num_classes=2)
    ratio = measure_epoch_ratio(
        config, config, build=lambda each: (_Stub(3, num_val), model), rounds=3
    )
    # The medians of 11 / 8, 17 / 8 and 23 / 11, and of 2, 4 and 3.
    assert ratio == pytest.approx(expected)


@pytest.mark.parametrize("distractor", ["any", "noise"])
def test_an_epoch_of_each_kind_runs(
    distractor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_tuning_project(tmp_path, monkeypatch)
    run_both(config, distractor)


def test_an_epoch_of_reid_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_vehicles(tmp_path, monkeypatch, train=REID, model={"side_information": "camera"})
    run_both(load_config("params.yaml"), "any")


def run_both(config: Config, distractor: str) -> None:
    pictures = open_pictures(config.dataset)

    def make(each: Config) -> tuple[Loaders, DCAL]:
        return build(each, pictures)

    full = config.model.model_copy(update={"distractor": distractor})
    alone = config.model.model_copy(update={"glca_blocks": 0, "pwca_blocks": 0})
    first, second = (config.model_copy(update={"model": each}) for each in (full, alone))
    assert measure_epoch_ratio(first, second, build=make, rounds=1) > 0
