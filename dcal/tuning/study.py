"""A study that goes on where it was stopped, and only with what it was begun with (ours)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage

from dcal.config import Config
from dcal.tuning.address import describe_storage_url
from dcal.tuning.errors import TuningError
from dcal.tuning.failures import storage_errors
from dcal.tuning.locks import lock_storage
from dcal.tuning.plan import Plan
from dcal.tuning.presets import list_presets
from dcal.tuning.settings import Hyperband
from dcal.tuning.storage import quietly

ATTRIBUTE = "dcal.origins"
DESCRIBED_ATTRIBUTE = "dcal.described"
NOTED_LATER = ("code", "space")
MAX_NAMED = 3
KEY_ATTRIBUTE = "dcal.key"


def open_study(
    storage: BaseStorage,
    plan: Plan,
    base: Config,
    *,
    num_blocks: int,
    fingerprints: Mapping[str, str],
    described: Mapping[str, str],
) -> optuna.Study:
    """Begin a study or go on with it, and enqueue the presets that it does not have yet.

    Args:
        storage: From `open_storage`.
        plan: Checked by `check_plan`.
        base: The config that trials change.
        num_blocks: Blocks of the backbone, for the paper's PWCA depth.
        fingerprints: What else all trials must share, by what it is called: code, parameters.
        described: What they are made of as far as it can be named, for the message where one of
            them differs.

    Raises:
        TuningError: The study was begun with something else; the message says with what.
    """
    settings = plan.study
    origins = {**compute_origins(plan), **fingerprints}
    place = f"study.name: {settings.name} in {describe_storage_url()}"
    with lock_storage(), storage_errors():
        study = optuna.create_study(
            storage=storage,
            study_name=settings.name,
            directions=list(settings.objectives.values()),
            load_if_exists=True,
            sampler=make_sampler(settings.sampler_seed, num_begun=0),
            pruner=build_pruner(plan, base),
        )
        _require_ours(study, list(settings.objectives.values()), place=place)
        check_origins(study, origins, {**described, **_describe_space(plan)}, place=place)
        quietly(study.set_metric_names, list(settings.objectives))
        presets = list_presets(settings, plan.space, base, num_blocks=num_blocks)
        for preset in presets[: settings.budget.num_trials]:
            study.enqueue_trial(preset, skip_if_exists=True)
    return study


def find_study_key(study: optuna.Study) -> str:
    """Return 32 hexadecimal digits that no other study has, one of the same name among them."""
    with lock_storage(), storage_errors():
        key = study.user_attrs.get(KEY_ATTRIBUTE)
        if key is None:
            key = uuid4().hex
            study.set_user_attr(KEY_ATTRIBUTE, key)
    return str(key)


def compute_origins(plan: Plan) -> dict[str, str]:
    """Return a digest of each part of a plan that no trial of a study may have otherwise."""
    content = plan.model_dump(mode="json")
    study = content["study"]
    parts = {
        "space": sorted(content["space"].items()),
        "objectives": study["objectives"],
        # Which trials are stopped depends on all others, so it is one rule for all.
        "pruner": study["pruner"],
    }
    return {name: _digest(part) for name, part in parts.items()}


def make_sampler(seed: int, *, num_begun: int) -> TPESampler:
    """Return the sampler of one trial.

    Its seed is a function of how many trials of the budget were begun before. Workers begin theirs
    one at a time, so no two have the same seed and none needs a number; and a study that was
    stopped suggests what it would have without the stop.
    """
    # The 0 is what the seed of the first worker was made of while workers had numbers.
    state = np.random.SeedSequence([seed, 0, num_begun]).generate_state(1)
    sampler: TPESampler = quietly(TPESampler, multivariate=True, group=True, seed=int(state[0]))
    return sampler


def build_pruner(plan: Plan, base: Config) -> BasePruner:
    """Return the pruner of a plan."""
    settings = plan.study.pruner
    if not isinstance(settings, Hyperband):
        return NopPruner()
    return HyperbandPruner(
        min_resource=settings.min_epochs,
        max_resource=settings.find_max_epochs(base),
        reduction_factor=settings.reduction_factor,
    )


def check_origins(
    study: optuna.Study,
    origins: Mapping[str, str],
    described: Mapping[str, str],
    *,
    place: str,
    advice: str = "go back to those, or choose another name",
) -> None:
    """Note what a new study is begun with, or compare an old one's; see `open_study`.

    Args:
        study: To whose user attributes they belong.
        origins: Digests, by what they are of.
        described: What they are made of, as far as it can be named.
        place: What a message begins with.
        advice: What it ends with.

    Raises:
        TuningError: The study was begun with something else.
    """
    found = study.user_attrs.get(ATTRIBUTE)
    if found is None:
        study.set_user_attr(DESCRIBED_ATTRIBUTE, dict(described))
        study.set_user_attr(ATTRIBUTE, dict(origins))
        return
    names = [name for name in found | origins if found.get(name) != origins.get(name)]
    if names:
        raise TuningError(
            f"{place} was begun with other {' and '.join(names)}"
            f"{_name_differences(study, described)}, and its trials cannot be "
            f"compared with new ones; {advice}"
        )


def _require_ours(study: optuna.Study, directions: Sequence[str], *, place: str) -> None:
    if study.user_attrs.get(ATTRIBUTE) is not None:
        return
    is_ours = [direction.name.lower() for direction in study.directions] == list(directions)
    if study.get_trials(deepcopy=False) or not is_ours:
        raise TuningError(f"{place} was made by another program; choose another name")


def _describe_space(plan: Plan) -> dict[str, str]:
    space = plan.model_dump(mode="json", include={"space"}, exclude_defaults=True)["space"]
    return {f"space.{key}": json.dumps(parameter) for key, parameter in space.items()}


def _name_differences(study: optuna.Study, described: Mapping[str, str]) -> str:
    was = study.user_attrs.get(DESCRIBED_ATTRIBUTE, {})
    kinds = {_name_kind(key) for key in was}
    keys = [
        key
        for key in {**was, **described}
        if was.get(key) != described.get(key)
        # What studies of before did not note of any key may well be the same.
        and (_name_kind(key) in kinds or _name_kind(key) not in NOTED_LATER)
    ]
    told = [f"{key} was {was.get(key)} and is {described.get(key)}" for key in keys[:MAX_NAMED]]
    if len(keys) > MAX_NAMED:
        told.append(f"and {len(keys) - MAX_NAMED} more")
    return f" ({', '.join(told)})" if told else ""


def _name_kind(key: str) -> str:
    return key.partition(".")[0]


def _digest(content: Any) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
