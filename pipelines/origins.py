"""What processes that share trainings must have alike, and what it is called (ours)."""

from __future__ import annotations

from pathlib import Path

import dcal
from dcal.config import Config
from dcal.data.datamodule import Pictures
from dcal.paths import compute_code_digest
from dcal.tracking.tracker import flatten_params
from pipelines import train
from pipelines.train import CODE, SECTIONS, WITHOUT_EFFECT, compute_run_fingerprint


def compute_origins(config: Config, pictures: Pictures) -> dict[str, str]:
    """Return the digest of what a training is made of, by what that is."""
    fingerprint = compute_run_fingerprint(config, data_digest=pictures.report.digest)
    return {"parameters, data or code": fingerprint}


def describe_origins(config: Config, pictures: Pictures) -> dict[str, str]:
    """Return what that digest is made of, by what a message can name."""
    params = config.model_dump(mode="json", include=set(SECTIONS), exclude=WITHOUT_EFFECT)
    package = Path(dcal.__file__).parent
    places = [*(package / name for name in CODE), Path(train.__file__)]
    return {
        "data": pictures.report.digest,
        "code": compute_code_digest(places)[:12],
        **flatten_params(params),
    }
