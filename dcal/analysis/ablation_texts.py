"""What a grid says, in tables and sentences for a reader; each follows from its numbers (ours)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.analysis.ablation_results import Ablation

SIGNIFICANT = 0.05
BRANCH_NAMES = {"sa": "SA", "glca": "GLCA", "pwca": "PWCA", "both": "SA + GLCA"}


def describe(ablation: Ablation) -> str:
    """Return a caption that says what the numbers are of, and what they are not."""
    head = ablation.head
    drawn = " Its pictures are drawn by a program: no figure here says anything of photographs."
    parts = [
        f"Data set {head['dataset']}, {head['data_digest'][:12]}."
        f"{drawn if head['is_drawn'] else ''}",
        f"{head['num_done']} of {head['num_planned']} trainings are done, of seeds "
        f"{', '.join(str(seed) for seed in head['seeds'])}; {head['num_epochs']} epochs where an "
        "arm does not say otherwise.",
        f"Scored is the test split with the weights that train.selection={head['selection']} "
        "takes" + (", which looked at it: optimistic." if head["selection"] == "test" else "."),
    ]
    parts += head.get("partial", [])  # what is missing of the data set
    failed = ablation.trainings["reason"].notna().sum() if "reason" in ablation.trainings else 0
    if failed:
        have = "training failed and has" if failed == 1 else "trainings failed and have"
        parts.append(f"{failed} {have} no score.")
    return " ".join([*parts, _describe_code(head["environment"])])


def warn_of_other_data(ablation: Ablation, name: str) -> str:
    """Return a sentence in bold where a grid is not of this data set, else nothing.

    Args:
        ablation: Of a grid.
        name: `dataset.name` of params.yaml.
    """
    of = ablation.head["dataset"]
    if of == name:
        return ""
    return f"**This grid is of another data set, {of}, than params.yaml, which has {name}.**"


def tell_settings(ablation: Ablation) -> str:
    """Return `list_settings` as a list in Markdown."""
    return "\n".join(f"- `{line}`" for line in list_settings(ablation))


def list_settings(ablation: Ablation) -> list[str]:
    """Return a line an arm: what it has otherwise than the baseline."""
    lines = []
    for arm in ablation.arms:
        values = ablation.head["arms"][arm]
        said = ", ".join(f"{key}={value}" for key, value in values.items())
        lines.append(f"{arm}: {said or 'the baseline, as params.yaml was then'}")
    return lines


def format_table(ablation: Ablation) -> pd.DataFrame:
    """Return the score that counts, every branch of every arm, in per cent, for a reader."""
    rows = ablation.table[ablation.table["metric"] == ablation.score]
    shown = pd.DataFrame(
        {
            "arm": rows["arm"] + ", " + rows["branch"].replace(BRANCH_NAMES),
            "seeds": rows["num_seeds"],
            "mean": rows["mean"].map(_percent),
            "std": rows["std"].map(_percent),
            "95 %": _join(rows, "low_95", "high_95"),
            f"less {ablation.baseline}": rows["difference"].map(_signed),
            "95 % of it": _join(rows, "difference_low_95", "difference_high_95"),
            "p (Holm)": rows["p_holm"].map(format_p),
        }
    )
    return shown.set_index("arm")


def format_cost(cost: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Return a table of `measure_cost` for a reader, cost beside the score."""
    shown = pd.DataFrame(
        {
            "epochs": cost["epochs"],
            "mean seconds": cost["seconds"].map("{:.0f}".format),
            f"time over {baseline}'s": cost["ratio"].map(lambda x: "" if x != x else f"{x:.2f}"),
            "score, %": cost["mean"].map(_percent),
            "95 %": _join(cost, "low_95", "high_95"),
            "by": cost["branch"].replace(BRANCH_NAMES),
        }
    )
    return shown.rename_axis("arm")


def tell_runs(ablation: Ablation, runs: Mapping[str, str]) -> str:
    """Return a sentence on how many trainings of a grid have a run in MLflow.

    Args:
        ablation: Of a grid.
        runs: Of `dcal.tracking.find_runs`: MLflow's id by fingerprint.
    """
    fingerprints = ablation.trainings["fingerprint"]
    num = int(fingerprints.isin(list(runs)).sum())
    where = ", each below the run of the grid that asked for it first" if num else ""
    return (
        f"{ablation.head['grid']}: {num} of {len(fingerprints)} trainings are in the MLflow of "
        f"this place{where}."
    )


def format_runs(ablation: Ablation, runs: Mapping[str, str]) -> pd.DataFrame:
    """Return the first letters of each run's id for a reader: a row an arm, a column a seed.

    Arguments are those of `tell_runs`. The table is empty where no training has a run.
    """
    ids = ablation.trainings["fingerprint"].map({key: run[:8] for key, run in runs.items()})
    known = ablation.trainings.assign(run=ids).dropna(subset="run")
    table = known.pivot(index="arm", columns="seed", values="run").fillna("")
    return table.reindex([arm for arm in ablation.arms if arm in table.index])


def tell_grids(ablations: Sequence[Ablation], left_out: Mapping[str, str], root: str) -> str:
    """Return the answer: what differs in which grid, or that there is none and what to do.

    Args:
        ablations: The grids of a folder.
        left_out: By name why others of it cannot be read.
        root: The folder.
    """
    answers = [
        f"- {ablation.head['grid']}, {line}"
        for ablation in ablations
        for line in (*tell_differences(ablation), tell_other_scores(ablation))
        if line
    ]
    if not ablations:
        return tell_no_grid(left_out, root)
    return "Points of the score that counts, less the baseline:\n\n" + "\n".join(answers)


def tell_no_grid(left_out: Mapping[str, str], root: str) -> str:
    """Return a sentence on a folder without a grid to ask; arguments as of `tell_grids`."""
    if left_out:
        return (
            f"No grid to compare: expected one in {root} that can be read, found "
            f"{len(left_out)} that cannot, for the reasons above."
        )
    found = "none" if Path(root).is_dir() else "no such folder"
    return (
        f"No grid was run here: expected folders of grids in {root}, found {found}; run "
        "`make ablate`, or set root to a folder that has some."
    )


def tell_differences(ablation: Ablation) -> list[str]:
    """Return a sentence a row: better, worse, or no difference that so few seeds could tell.

    Rows are the branch that stands for each arm, and the baseline's other branches, which are its
    model read in another way. One differs where Holm's p, over all rows of the score, is below
    0.05. An arm of which no training has a score is told of, with the reason.
    """
    rows = ablation.table[ablation.table["metric"] == ablation.score]
    main = rows.index.isin(ablation.main_rows.index)
    is_baseline = rows["arm"] == ablation.baseline
    told = [tell(row) for _, row in rows[main ^ is_baseline].iterrows()]
    return [*told, *_tell_failures(ablation, set(rows["arm"]))]


def tell_other_scores(ablation: Ablation) -> str:
    """Return a sentence on the scores that do not count: which of them differ nevertheless."""
    rows = ablation.table[ablation.table["metric"] != ablation.score]
    if rows.empty:
        return ""
    names = ", ".join(dict.fromkeys(rows["metric"]))
    differing = rows[rows["p_holm"] < SIGNIFICANT]
    told = [
        f"{row['metric']} of {row['arm']} by {BRANCH_NAMES.get(row['branch'], row['branch'])} "
        f"{row['difference']:+.4g} ({row['difference_low_95']:+.4g} to "
        f"{row['difference_high_95']:+.4g}, Holm's p {format_p(row['p_holm'])})"
        for _, row in differing.iterrows()
    ]
    return f"of the other scores ({names}) {'; '.join(told) if told else 'none differs'}."


def _tell_failures(ablation: Ablation, scored: set[str]) -> list[str]:
    told = []
    for arm in (arm for arm in ablation.arms if arm not in scored):
        rows = ablation.trainings[ablation.trainings["arm"] == arm]
        told.append(f"{arm}: no training has a score ({rows['reason'].iloc[0]}).")
    return told


def tell(row: pd.Series[Any]) -> str:
    """Return the sentence of one row of a table."""
    branch, pairs = BRANCH_NAMES.get(row["branch"], row["branch"]), int(row["num_pairs"])
    arm = f"{row['arm']} by {branch}"
    if not pairs:
        return f"{arm}: no seed in common with the baseline yet."
    if pairs < 2 or math.isnan(row["p_value"]):
        difference = _signed(row["difference"])
        return f"{arm}: {difference} over {count_seeds(pairs)}, which cannot be judged."
    interval = f"{_signed(row['difference_low_95'])} to {_signed(row['difference_high_95'])}, "
    # Differences that are all 0 have no interval.
    known = "" if math.isnan(row["difference_low_95"]) else interval
    size = f"{_signed(row['difference'])} ({known}{count_seeds(pairs)})"
    if row["p_holm"] >= SIGNIFICANT:
        return f"{arm}: no difference can be told: {size}."
    return f"{arm}: {'higher' if row['difference'] > 0 else 'lower'} by {size}."


def _describe_code(environment: dict[str, Any]) -> str:
    commit = environment.get("git_commit")
    dirty = " with changes that were not committed" if environment.get("git_dirty") else ""
    code = f"commit {commit[:12]}{dirty}" if commit else "a commit that is not known"
    device, torch = environment.get("device"), environment.get("versions", {}).get("torch")
    return f"These tables were last written at {code}, on {device} with torch {torch}."


def format_p(p_value: float) -> str:
    """Return a p value to three digits; nothing where it is nan."""
    if math.isnan(p_value):
        return ""
    return f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"


def count_seeds(count: int) -> str:
    """Return a count of seeds in words."""
    return f"{count} seed" if count == 1 else f"{count} seeds"


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def _signed(share: float) -> str:
    if math.isnan(share):
        return ""
    text = f"{100 * share:+.1f}"
    return text if float(text) else "0.0"


def _join(rows: pd.DataFrame, low: str, high: str) -> pd.Series[str]:
    pairs = zip(rows[low], rows[high], strict=True)
    texts = ["" if math.isnan(a) else f"{100 * a:.1f} to {100 * b:.1f}" for a, b in pairs]
    return pd.Series(texts, index=rows.index)
