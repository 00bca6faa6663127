"""MLflow without the words that are meant for another kind of model (ours)."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_ADVICE = "Any type hint"  # the elements of a request may be three things


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Drop MLflow's advice against `Any`, its progress bars and what it only tells.

    Other warnings are given when the block is left.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        # A filter would not do: MLflow puts one of its own before it.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logger.setLevel(level)
    for one in caught:
        if _ADVICE not in str(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
