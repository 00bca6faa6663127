"""Reading results/ablate, and telling what its differences say (ours)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

FILES = ("table.csv", "scores.csv", "trainings.csv", "curves.csv", "grid.json")
SIGNIFICANT = 0.05


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
    def main_rows(self) -> pd.DataFrame:
        """Return a row an arm: the score that counts, by the branch that stands for the arm."""
        rows = self.table[self.table["metric"] == self.score]
        stands = rows["branch"].map({"both": 2, "sa": 1}).fillna(0)
        order = rows.assign(stands=stands).sort_values("stands", kind="stable")
        last = order.drop_duplicates("arm", keep="last").index
        return rows.loc[rows.index.intersection(last)]


def list_grids(root: str | Path) -> list[Path]:
    """Return the folders of results/ablate that hold a grid, by name."""
    return sorted(path.parent for path in Path(root).glob("*/grid.json"))


def read_ablation(folder: str | Path) -> Ablation:
    """Read one folder of results/ablate.

    Raises:
        AblationError: A file is missing, damaged, or lacks a column.
    """
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise AblationError(f"{folder / missing[0]}: no such file; run: make ablate")
    try:
        head = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
        tables = {name: pd.read_csv(folder / name) for name in FILES[:-1]}
        found = Ablation(head, *tables.values())
        _check(found)
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise AblationError(f"{folder}: not what make ablate writes ({reason})") from None
    return found


def describe(ablation: Ablation) -> str:
    """Return a caption that says what the numbers are of, and what they are not."""
    head = ablation.head
    seeds = len(head["seeds"])
    drawn = " Its pictures are drawn by a program: no figure here says anything of photographs."
    parts = [
        f"Data set {head['dataset']}.{drawn if head['is_drawn'] else ''}",
        f"{head['num_done']} of {head['num_planned']} trainings are done, {seeds} seeds an arm, "
        f"{head['num_epochs']} epochs where an arm does not say otherwise.",
        f"Scored is the test split with the weights that train.selection={head['selection']} "
        "takes" + (", which looked at it: optimistic." if head["selection"] == "test" else "."),
    ]
    failed = ablation.trainings["reason"].notna().sum() if "reason" in ablation.trainings else 0
    if failed:
        parts.append(f"{failed} trainings failed and have no score.")
    return " ".join(parts)


def format_table(ablation: Ablation) -> pd.DataFrame:
    """Return the score that counts, every branch of every arm, in per cent, for a reader."""
    rows = ablation.table[ablation.table["metric"] == ablation.score]
    shown = pd.DataFrame(
        {
            "arm": rows["arm"],
            "branch": rows["branch"],
            "seeds": rows["num_seeds"],
            "mean": rows["mean"].map(_percent),
            "std": rows["std"].map(_percent),
            "95 %": _join(rows, "low_95", "high_95"),
            f"less {ablation.baseline}": rows["difference"].map(_signed),
            "95 % of it": _join(rows, "difference_low_95", "difference_high_95"),
            "p (Holm)": rows["p_holm"].map(lambda p: "" if math.isnan(p) else f"{p:.3f}"),
        }
    )
    return shown.set_index(["arm", "branch"])


def tell_differences(ablation: Ablation) -> list[str]:
    """Return a sentence an arm: better, worse, or no difference that so few seeds could tell.

    An arm differs where Holm's p, over all rows of the score, is below 0.05.
    """
    rows = ablation.main_rows
    return [tell(row) for _, row in rows[rows["arm"] != ablation.baseline].iterrows()]


def tell(row: pd.Series[Any]) -> str:
    """Return the sentence of one row of a table."""
    arm, pairs = row["arm"], int(row["num_pairs"])
    if not pairs:
        return f"{arm}: no seed in common with the baseline yet."
    if pairs < 2 or math.isnan(row["p_value"]):
        return f"{arm}: {_signed(row['difference'])} over {pairs} seeds, which cannot be judged."
    size = (
        f"{_signed(row['difference'])} ({_signed(row['difference_low_95'])} to "
        f"{_signed(row['difference_high_95'])}, {pairs} seeds)"
    )
    if row["p_holm"] >= SIGNIFICANT:
        return f"{arm}: no difference can be told: {size}."
    return f"{arm}: {'higher' if row['difference'] > 0 else 'lower'} by {size}."


def measure_cost(ablation: Ablation) -> pd.DataFrame:
    """Return a row an arm: its mean seconds, and those over the baseline's, seed by seed."""
    done = ablation.trainings[ablation.trainings["steps"] > 0]
    seconds = done.pivot(index="arm", columns="seed", values="seconds")
    baseline = seconds.reindex([ablation.baseline]).iloc[0]  # none of it may be done yet
    ratios = seconds.div(baseline, axis=1)
    epochs = done.groupby("arm")["epochs"].first()
    table = pd.DataFrame(
        {"epochs": epochs, "seconds": seconds.mean(axis=1), "ratio": ratios.median(axis=1)}
    )
    return table.loc[[arm for arm in ablation.arms if arm in table.index]]


def _check(ablation: Ablation) -> None:
    needed = {
        "table": ["arm", "branch", "metric", "mean", "difference", "p_holm"],
        "scores": ["arm", "seed", "branch", "metric", "value"],
        "trainings": ["arm", "seed", "seconds", "fingerprint"],
        "curves": ["arm", "seed", "epoch", "metric", "value"],
    }
    for name, columns in needed.items():
        lacking = set(columns) - set(getattr(ablation, name))
        if lacking:
            raise ValueError(f"{name}.csv has no column {sorted(lacking)[0]}")
    for key in ("baseline", "score", "dataset", "seeds", "arms", "num_done", "num_planned"):
        if key not in ablation.head:
            raise ValueError(f"grid.json has no key {key}")


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def _signed(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:+.1f}"


def _join(rows: pd.DataFrame, low: str, high: str) -> pd.Series[str]:
    pairs = zip(rows[low], rows[high], strict=True)
    texts = ["" if math.isnan(a) else f"{100 * a:.1f} to {100 * b:.1f}" for a, b in pairs]
    return pd.Series(texts, index=rows.index)
