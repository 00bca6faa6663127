"""The last round: who is trained anew on fresh seeds, and what that says (ours).

The best of many noisy scores is too good: its configuration was lucky, too. So the best ones are
compared with the paper's and with the config as it is, on seeds that none of them was chosen by.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from dcal.analysis.intervals import compare_paired, summarise
from dcal.config import Config
from dcal.sentences import to_one_line
from dcal.tuning.driver import OVERRIDES
from dcal.tuning.failures import storage_errors
from dcal.tuning.objective import TrialFailed
from dcal.tuning.parameters import Scalar
from dcal.tuning.plan import Plan
from dcal.tuning.presets import find_paper_preset
from dcal.tuning.progress import find_origin
from dcal.tuning.settings import StudySettings
from dcal.tuning.space import Overrides, apply

PREFIX = "dcal.final."  # user attributes of the study: a result each, so that the round goes on
DIFFERENCES = ("difference_from_paper", "difference_low_95", "difference_high_95")
PAPER, AS_IT_IS = "paper", "config"
TrainFinal = Callable[[Config, str], Mapping[str, float]]


class Finalist(NamedTuple):
    """A configuration of the last round."""

    name: str  # paper, config, trial 7; several that are the same: paper, trial 0
    overrides: Overrides


def choose_finalists(
    study: optuna.Study, plan: Plan, base: Config, *, num_blocks: int
) -> list[Finalist]:
    """Return the paper's settings, the config as it is, and the best trials, each once."""
    candidates: list[tuple[str, Overrides]] = [
        (PAPER, find_paper_preset(plan.space, base, num_blocks=num_blocks)),
        (AS_IT_IS, {}),
    ]
    best = rank_distinct_trials(study, plan.study)[: plan.study.final.num_configs]
    candidates += [(f"trial {find_origin(trial)}", trial.user_attrs[OVERRIDES]) for trial in best]
    found: list[Finalist] = []
    for name, overrides in candidates:
        twin = next(
            (i for i, f in enumerate(found) if _is_same(f.overrides, overrides, base)), None
        )
        if twin is None:
            found.append(Finalist(name, overrides))
        else:
            found[twin] = found[twin]._replace(name=f"{found[twin].name}, {name}")
    return found


def rank_distinct_trials(study: optuna.Study, settings: StudySettings) -> list[FrozenTrial]:
    """Return finished trials of distinct settings, best first; of two goals those of the front."""
    if len(settings.objectives) > 1:
        trials = study.best_trials
    else:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1.0 if settings.is_larger_better else 1.0
    index = list(settings.objectives).index(settings.score_key)
    ordered = sorted(trials, key=lambda trial: (sign * trial.values[index], trial.number))
    distinct: dict[str, FrozenTrial] = {}
    for trial in ordered:
        distinct.setdefault(json.dumps(trial.user_attrs[OVERRIDES], sort_keys=True), trial)
    return list(distinct.values())


def score_finalists(
    study: optuna.Study, finalists: Sequence[Finalist], plan: Plan, base: Config, train: TrainFinal
) -> pd.DataFrame:
    """Train each finalist on each fresh seed, and return a row a configuration.

    A training that was carried out for this study before is not repeated. `difference_from_paper`
    is paired by seed, with its 95 % interval (Student); nan where it has none.

    Args:
        study: Keeps the results.
        finalists: From `choose_finalists`.
        plan: Its `score_key` decides.
        base: The config that trials changed, whose seed they had.
        train: Is given a config and a name for it; raises TrialFailed where there is no score.
    """
    score_key = plan.study.score_key
    keys = [score_key, *(key for key in plan.study.objectives if key != score_key)]
    seeds = [base.seed + 1 + i for i in range(plan.study.final.num_seeds)]
    rows, by_seed = [], []
    for finalist in finalists:
        results = []
        for seed in seeds:
            config = apply(base, {**finalist.overrides, "seed": seed}, origin=finalist.name)
            results.append(_score_once(study, config, finalist, keys, train))
        rows.append(_describe(finalist, results, keys))
        by_seed.append(pd.Series([r.get(score_key) for r in results], seeds, float).dropna())
    # Compared over the seeds that both have; the paper's settings come first.
    return pd.DataFrame(
        {**row, **_compare(scores, by_seed[0])} for row, scores in zip(rows, by_seed, strict=True)
    )


def choose_best(table: pd.DataFrame, settings: StudySettings) -> int | None:
    """Return the row of the best mean; None where no finalist has a score for every seed."""
    means = table.loc[table["num_seeds"] == settings.final.num_seeds, "mean"].dropna()
    if means.empty:
        return None
    place = means.argmax() if settings.is_larger_better else means.argmin()
    return int(means.index.to_numpy()[place])


def _is_same(one: Mapping[str, Scalar], other: Mapping[str, Scalar], base: Config) -> bool:
    return apply(base, one) == apply(base, other)


def _score_once(
    study: optuna.Study, config: Config, finalist: Finalist, keys: list[str], train: TrainFinal
) -> dict[str, Any]:
    values = json.dumps({**finalist.overrides, "seed": config.seed}, sort_keys=True)
    attribute = PREFIX + hashlib.sha256(values.encode()).hexdigest()[:16]
    known: dict[str, Any] | None = study.user_attrs.get(attribute)
    if known is not None:
        return known
    try:
        scores = train(config, f"{finalist.name}, seed {config.seed}")
        result: dict[str, Any] = {key: float(scores[key]) for key in keys}
    except TrialFailed as error:
        result = {"reason": to_one_line(str(error))}
    with storage_errors():
        study.set_user_attr(attribute, result)
    return result


def _describe(finalist: Finalist, results: list[dict[str, Any]], keys: list[str]) -> dict[str, Any]:
    scored = [result for result in results if "reason" not in result]
    first, *others = keys
    return {
        "configuration": finalist.name,
        "metric": first,
        **_summarise_key(scored, first),
        "values": " ".join(f"{result[first]:.6g}" for result in scored),
        **{key: _summarise_key(scored, key)["mean"] for key in others},
        "overrides": json.dumps(finalist.overrides),
        "reason": "; ".join(result["reason"] for result in results if "reason" in result),
    }


def _compare(scores: pd.Series[float], paper: pd.Series[float]) -> dict[str, float]:
    if scores is paper:
        return dict.fromkeys(DIFFERENCES, math.nan)
    found = compare_paired(scores, paper)
    names = ("difference", "difference_low_95", "difference_high_95")
    return {name: found[key] for name, key in zip(DIFFERENCES, names, strict=True)}


def _summarise_key(scored: list[dict[str, Any]], key: str) -> dict[str, float]:
    found = summarise([result[key] for result in scored])
    half = found["high_95"] - found["mean"]
    return {name: found[name] for name in ("num_seeds", "mean", "std")} | {"half_interval_95": half}
