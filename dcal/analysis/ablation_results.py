"""Results of grids as make ablate leaves them in results/ablate, and what they cost (ours)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dcal.analysis.intervals import COMPARED

FILES = ("table.csv", "scores.csv", "trainings.csv", "curves.csv", "grid.json")


class AblationError(ValueError):
    """Results of a grid that cannot be read; the message is one sentence."""


class Ablation(NamedTuple):
    """What pipelines/ablate left of one grid."""

    head: dict[str, Any]  # grid.json
    table: pd.DataFrame
    scores: pd.DataFrame
    trainings: pd.DataFrame
    curves: pd.DataFrame

    @property
    def baseline(self) -> str:
        """Return the arm that others are compared with."""
        return str(self.head["baseline"])

    @property
    def score(self) -> str:
        """Return the metric that counts."""
        return str(self.head["score"])

    @property
    def arms(self) -> list[str]:
        """Return the arms in the order of the grid, the baseline first."""
        return [str(arm) for arm in self.trainings["arm"].unique()]

    @property
    def score_rows(self) -> list[tuple[str, str]]:
        """Return arm and branch of each row of the score that counts, in the table's order."""
        rows = self.table[self.table["metric"] == self.score]
        return list(zip(rows["arm"].astype(str), rows["branch"].astype(str), strict=True))

    @property
    def main_rows(self) -> pd.DataFrame:
        """Return a row an arm: the score that counts, by the branch that stands for the arm."""
        rows = self.table[self.table["metric"] == self.score]
        stands = rows["branch"].map({"both": 2, "sa": 1}).fillna(0)
        order = rows.assign(stands=stands).sort_values("stands", kind="stable")
        last = order.drop_duplicates("arm", keep="last").index
        return rows.loc[rows.index.intersection(last)]


def list_grids(root: str | Path) -> list[Path]:
    """Return the folders of results/ablate that hold a grid or a part of one, by name."""
    return sorted({path.parent for path in Path(root).glob("*/*") if path.name in FILES})


def read_ablation(folder: str | Path) -> Ablation:
    """Read one folder of results/ablate.

    Raises:
        AblationError: A file is missing, damaged, or lacks a column.
    """
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        command = f"make ablate GRID={folder.name}"
        raise AblationError(f"{folder / missing[0]}: no such file; run: {command}")
    try:
        head = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
        tables = {name: pd.read_csv(folder / name) for name in FILES[:-1]}
        found = Ablation(head, *tables.values())
        _check(found)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise AblationError(
            f"{folder}: not what make ablate writes ({reason}); run: make ablate GRID={folder.name}"
        ) from None
    return found


def read_ablations(root: str | Path) -> tuple[list[Ablation], dict[str, str]]:
    """Return the grids of a folder, and by name why the others cannot be read."""
    grids, left_out = [], {}
    for folder in list_grids(root):
        try:
            grids.append(read_ablation(folder))
        except AblationError as error:
            left_out[folder.name] = str(error)
    return grids, left_out


def count_compared(ablation: Ablation) -> int:
    """Return how many rows of the score that counts are compared with the baseline at once."""
    rows = ablation.table[ablation.table["metric"] == ablation.score]
    return int(rows["p_holm"].notna().sum())


def measure_cost(ablation: Ablation) -> pd.DataFrame:
    """Return a row an arm: epochs, mean seconds, those over the baseline's, and its main score.

    The ratio is the median over seeds, since a machine that was busy for one seed is no cost.
    """
    done = ablation.trainings[ablation.trainings["seconds"] > 0]
    seconds = done.pivot(index="arm", columns="seed", values="seconds")
    baseline = seconds.reindex([ablation.baseline]).iloc[0]  # none of it may be done yet
    scores = ablation.main_rows.set_index("arm")
    table = pd.DataFrame(
        {
            "epochs": done.groupby("arm")["epochs"].first(),
            "seconds": seconds.mean(axis=1),
            "ratio": seconds.div(baseline, axis=1).median(axis=1),
            "branch": scores["branch"],
            **{name: scores[name] for name in ("mean", "low_95", "high_95")},
        }
    )
    return table.loc[[arm for arm in ablation.arms if arm in seconds.index]]


_NEEDED = {
    "table": ["arm", "branch", "metric"],
    "scores": ["arm", "branch", "metric"],
    "trainings": ["arm", "fingerprint"],
    "curves": ["arm", "metric"],
}
_NUMBERS = {
    "table": ["num_seeds", "mean", "std", "low_95", "high_95", *COMPARED, "p_holm"],
    "scores": ["seed", "value"],
    "trainings": ["seed", "epochs", "seconds"],
    "curves": ["seed", "epoch", "value"],
}
_KEYS = (
    *("grid", "question", "baseline", "dataset", "is_drawn", "score", "seeds", "arms"),
    *("num_done", "num_planned", "num_epochs", "selection", "data_digest", "environment"),
)
_KINDS: dict[str, type] = {
    **dict.fromkeys(("grid", "baseline", "dataset", "score", "data_digest"), str),
    **dict.fromkeys(("arms", "environment"), dict),
    "seeds": list,
}


def _check(ablation: Ablation) -> None:
    if not isinstance(ablation.head, dict):
        raise ValueError("grid.json holds no keys")
    for key in _KEYS:
        if key not in ablation.head:
            raise ValueError(f"grid.json has no key {key}")
    for key, kind in _KINDS.items():
        if not isinstance(ablation.head[key], kind):
            raise ValueError(f"key {key} of grid.json: expected {kind.__name__}")
    for name, columns in _NEEDED.items():
        table = getattr(ablation, name)
        for column in (*columns, *_NUMBERS[name]):
            if column not in table:
                raise ValueError(f"{name}.csv has no column {column}")
        for column in _NUMBERS[name]:
            if len(table) and not pd.api.types.is_numeric_dtype(table[column]):
                raise ValueError(f"{name}.csv has no numbers in column {column}")
    unknown = set(ablation.arms) - set(ablation.head["arms"])
    if unknown:
        raise ValueError(f"grid.json has no arm {sorted(unknown)[0]}, but trainings.csv has")
    _check_agreement(ablation)


def _check_agreement(ablation: Ablation) -> None:
    """Refuse a table that was not made from the scores beside it."""
    by = ["arm", "branch", "metric"]
    values = ablation.scores.groupby(by)["value"]
    told = ablation.table.set_index(by)[["num_seeds", "mean"]].sort_index()
    made = pd.DataFrame({"num_seeds": values.count(), "mean": values.mean()}).sort_index()
    is_same = made.index.equals(told.index) and np.allclose(
        made.to_numpy(float), told.to_numpy(float), rtol=1e-4, atol=1e-6
    )
    if not is_same:
        raise ValueError("table.csv is not that of scores.csv")
