"""What a study hands on: tables, and the settings that won as an option of compose (ours)."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dcal.config import ConfigError
from dcal.data.partial import label_partial
from dcal.paths import write_atomically, write_json
from dcal.tuning.final import choose_best
from dcal.tuning.plan import Plan
from dcal.tuning.results import build_front_table, build_trials_table, compute_importances
from dcal.tuning.settings import StudySettings
from pipelines.compose import BEST, PARAMS, read_arguments
from pipelines.tune.study import Search

RESULTS = BEST.parent


class NoWinner(RuntimeError):
    """No settings of the last round have a score for every seed."""


def write_results(search: Search, final: pd.DataFrame) -> list[Path]:
    """Write results/tune and return its files.

    Raises:
        NoWinner: No finalist could be trained on every seed; the tables are written all the same.
    """
    trials = build_trials_table(search.study, search.plan.study)
    tables = {
        "trials.csv": trials,
        "pareto.csv": build_front_table(trials, search.plan.study),
        "final.csv": final,
    }
    for name, table in tables.items():
        with write_atomically(RESULTS / name) as temporary:
            label_partial(table, search.ground.pictures.report.partial).to_csv(
                temporary, index=False
            )
    importances = compute_importances(search.study, search.plan)
    write_json(RESULTS / "importance.json", importances)
    winner = find_winner(final, search.plan.study)
    with write_atomically(BEST) as temporary:
        text = render_best(winner, trials, search.plan)
        temporary.write_text(text, encoding="utf-8")
    return [*(RESULTS / name for name in tables), RESULTS / "importance.json", BEST]


def find_winner(final: pd.DataFrame, settings: StudySettings) -> pd.Series[Any]:
    """Return the row of the last round whose settings are handed on.

    Raises:
        NoWinner: No settings have a score for every seed.
    """
    row = choose_best(final, settings)
    if row is None:
        raise NoWinner(
            "results/tune/final.csv: none of the settings could be trained on every fresh seed "
            f"({'; '.join(final['reason'])}); so there is no best one"
        )
    return final.iloc[row]


def render_best(winner: pd.Series[Any], trials: pd.DataFrame, plan: Plan) -> str:
    """Return the winner's settings as a tree, under a head that says where they are from."""
    score = f"{winner['metric']} {winner['mean']:.4f}"
    if not pd.isna(winner["half_interval_95"]):
        score += f" +- {winner['half_interval_95']:.4f} (95 %)"
    states = trials["state"].value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    seeds = "seed" if winner["num_seeds"] == 1 else "seeds"
    trained = ", ".join(f"{key}={value}" for key, value in plan.base.items())
    lines = [
        f"What:     the settings that won study {plan.study.name}: {winner['configuration']}.",
        f"Command:  {shlex.join(['python', '-m', 'pipelines.compose', *_read_arguments()])}",
        f"Expected: {score} over {winner['num_seeds']} fresh {seeds}"
        f"{f', trained with {trained}' if trained else ''}.",
        f"Trials:   {len(trials)} ({counts}).",
    ]
    head = "".join(f"# {line}\n" for line in lines)
    tree = _unfold(json.loads(winner["overrides"]))
    return head + yaml.safe_dump(tree, sort_keys=False)


def _read_arguments() -> list[str]:
    try:
        arguments = read_arguments(PARAMS)
    except ConfigError:  # written by hand
        arguments = []
    return [*(a for a in arguments if not a.startswith("tune=")), "tune=best"]


def _unfold(overrides: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        *parents, last = key.split(".")
        section = tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return tree
