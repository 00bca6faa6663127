"""What finished trainings of grids gave, kept so that none is repeated (ours).

A training is known by its fingerprint, so that the baseline of two grids is trained once, and a
grid whose budget was spent goes on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dcal.config import Config, PositiveFloat, Section
from dcal.paths import render_json, work_root, write_json

logger = logging.getLogger(__name__)
Content = TypeVar("Content")

FOLDER = "runs/ablate"  # of the work root


class Finished(Section):
    """One training that came to its end."""

    fingerprint: str
    epochs: int
    steps: int
    seconds: float
    selected_epoch: int  # counted from 0
    scores: dict[str, float]  # <split>/<branch>/<metric> of the chosen epoch; empty where it failed
    curves: list[dict[str, Any]]  # a record an epoch: epoch and the history's columns
    reason: str = ""  # why there are no scores


def make_key(fingerprint: str, config: Config) -> str:
    """Return what names a training and how it is scored."""
    # The fingerprint tells of the training alone, and the scores follow from section evaluate too.
    text = render_json(config.evaluate.model_dump(mode="json"))
    return f"{fingerprint}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def find_finished(key: str) -> Finished | None:
    """Return what a training gave; None where this work root does not have it."""
    return _read(_root() / f"{key}.json", Finished.model_validate_json)


def keep_finished(key: str, finished: Finished) -> None:
    """Keep what a training gave."""
    write_json(_root() / f"{key}.json", finished.model_dump(mode="json"))


def find_ratio(key: str) -> float | None:
    """Return a ratio of epoch times that was measured here before, or None."""
    return _read(_root() / f"ratio-{key}.json", TypeAdapter(PositiveFloat).validate_json)


def keep_ratio(key: str, ratio: float) -> None:
    """Keep a ratio of epoch times, so that all seeds of an arm have the same epochs."""
    write_json(_root() / f"ratio-{key}.json", ratio)


def _read(path: Path, parse: Callable[[bytes], Content]) -> Content | None:
    """Return what a file holds; one that is damaged is set aside, as if it were not there."""
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        logger.warning("%s is damaged, and now %s: what it held is made again", path, aside.name)
        return None


def _root() -> Path:
    return work_root() / FOLDER
