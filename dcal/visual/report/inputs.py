"""What the report is made from, as the stages left it, and how its numbers are written (ours)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.analysis.drawn import DRAWN_SOURCES
from dcal.config import Config
from dcal.data.index import IndexReport
from dcal.tracking import RunRecord
from dcal.visual.figures import BRANCH_NAMES


@dataclass(frozen=True)
class TrainingResults:
    """What the train stage left: run.json, metrics.json and history.csv of results/train."""

    run: RunRecord
    metrics: Mapping[str, float]  # <split>/<branch>/<metric>
    history: pd.DataFrame


@dataclass(frozen=True)
class PastRun:
    """Another run of the same data set, as a commit holds it."""

    run_id: str  # in MLflow; where it was not tracked, the fingerprint
    fingerprint: str
    started: str  # ISO 8601
    experiment: str | None  # of DVC
    data_digest: str
    num_warnings: int
    params: Mapping[str, str]  # dotted keys of params.yaml
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class ReportInputs:
    """One model's results.

    `config` is that of the scored model, `card` is its model.json, `metrics` hold
    `<split>/<branch>/<metric>`; the tables are the csv files of the same names.
    """

    config: Config
    index_report: IndexReport
    training: TrainingResults | None  # None: the model was given as evaluate.weights
    card: Mapping[str, Any]
    num_parameters: int
    metrics: Mapping[str, float]
    confusion: pd.DataFrame
    classes: pd.DataFrame
    localization: pd.DataFrame
    predictions: pd.DataFrame
    gallery: pd.DataFrame  # index.csv of the rollout stage
    gallery_folder: Path
    pictures_root: Path
    past_runs: Sequence[PastRun] = ()  # to compare with, the newest first
    asks_for_pictures: bool = False  # even of a data set whose pictures may not be passed on

    @property
    def num_pictures(self) -> int:
        """Count the scored pictures, which for Re-ID are the queries."""
        return len(self.predictions)

    @property
    def num_classes(self) -> int:
        """Count the classes."""
        return len(self.index_report.class_names)

    @property
    def main_branch(self) -> str:
        """Name the branch that stands for the model."""
        column = "both_first_rank" if self.is_reid else "both_prediction"
        return "both" if column in self.predictions else "sa"

    @property
    def is_reid(self) -> bool:
        """Say whether pictures were ranked, not told apart by class."""
        return self.config.dataset.kind == "reid"

    @property
    def main_name(self) -> str:
        """Name that branch as a reader is told."""
        return BRANCH_NAMES[self.main_branch]

    @property
    def is_drawn(self) -> bool:
        """Say whether the pictures were drawn by a program."""
        return self.config.dataset.source_type in DRAWN_SOURCES

    @property
    def knows_the_data(self) -> bool:
        """Say whether the model was trained with the very index that it is scored on."""
        return self.card["dataset"]["digest"] == self.index_report.digest

    @property
    def may_be_passed_on(self) -> bool:
        """Say whether the data set's pictures may be redistributed."""
        return self.config.dataset.redistributable and self.index_report.redistributable

    @property
    def shows_pictures(self) -> bool:
        """Say whether the data set's pictures are put on the page."""
        return self.may_be_passed_on or self.asks_for_pictures

    @property
    def model_name(self) -> str:
        """Name the method and the backbone."""
        model = self.config.model
        method = "DCAL" if model.glca_blocks or model.pwca_blocks else "SA only"
        return f"{method}, {model.backbone}"


def format_percent(share: float | None, *, digits: int = 1) -> str:
    """Write a share as a percentage; an unknown one as a dash."""
    if share is None or math.isnan(share):
        return "-"
    return f"{100 * share:.{digits}f} %"


def format_name(name: str) -> str:
    """Write a class name with spaces, so that long ones can be broken."""
    return name.replace("_", " ").strip()


def format_blocks(number: int) -> str:
    """Write a number of blocks."""
    return "1 block" if number == 1 else f"{number} blocks"


def format_count(number: float) -> str:
    """Write a whole number with thin spaces between thousands."""
    return f"{number:,.0f}".replace(",", "\u202f")


def format_counted(number: float, one: str, many: str) -> str:
    """Write a whole number with what is counted, which is `one` or are `many`."""
    return f"{format_count(number)} {one if number == 1 else many}"


def format_duration(seconds: float) -> str:
    """Write seconds as a reader would say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
