"""What arms with and without PWCA say, in tables and sentences that follow from numbers (ours)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.analysis.ablation_texts import BRANCH_NAMES, SIGNIFICANT, count_seeds, format_p
from dcal.analysis.generalisation import Pair
from dcal.analysis.regularisation import (
    ACCURACY_GAP,
    EPOCHS,
    EQUAL,
    LOSS_GAP,
    SHARE,
    TRAINING_LOSS,
    PwcaGrid,
    compare_pairs,
    compare_seconds,
)

Row = Mapping[Any, float]  # of a table, by column


def format_pair(table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Return a pair's rows of `compare_pairs` for a reader."""
    table = pd.DataFrame(table.xs(pair.name)).rename_axis(pair.name)
    return pd.DataFrame(
        {
            "seeds": table["num_pairs"],
            "difference": [_signed(value) for value in table["difference"]],
            "95 %": [
                "" if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"
                for low, high in zip(
                    table["difference_low_95"], table["difference_high_95"], strict=True
                )
            ],
            "p": table["p_value"].map(format_p),
            "p (Holm)": table["p_holm"].map(format_p),
        }
    )


def format_seconds(seconds: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `compare_seconds` for a reader."""
    known = seconds[seconds["ratio"].notna()]
    interval = [
        "" if math.isnan(low) else f"{low:.2f} to {high:.2f}"
        for low, high in zip(known["low_95"], known["high_95"], strict=True)
    ]
    return pd.DataFrame(
        {
            "seeds": known["num_pairs"],
            "time with over without": known["ratio"].map("{:.2f}".format),
            "95 %": interval,
            "share of PWCA": known["share"].map("{:.0%}".format),
        }
    )


def tell_regularisation(table: pd.DataFrame, pair: Pair) -> str:
    """Return what a table of `compare_pairs` says of a pair, the verdict first.

    A difference is told where Holm's p is below 0.05.
    """
    asked = (EQUAL, TRAINING_LOSS, LOSS_GAP, ACCURACY_GAP)
    rows = {what: _find(table, pair, what) for what in asked}
    judged = {what: judge(row) for what, row in rows.items()}
    verdicts = {
        "lower": "PWCA regularises",
        "higher": "PWCA does harm",
        "equal": "no regularisation can be told",
        "open": "it cannot be judged",
    }
    verdict = verdicts[judged[EQUAL]]
    parts = "; ".join(f"the {what} {_tell(row)}" for what, row in rows.items())
    said = f"{pair.name}, {verdict}: {parts}."
    is_slower = (judged[TRAINING_LOSS], judged[LOSS_GAP]) == ("higher", "lower")
    if is_slower and judged[EQUAL] != "lower":
        said += " A smaller gap beside a higher training loss is what slower training shows, too."
    return said


def tell_convergence(table: pd.DataFrame, pair: Pair) -> str:
    """Return whether PWCA takes more or fewer epochs to near the best held-out score."""
    row = _find(table, pair, EPOCHS)
    words = {
        "higher": "more epochs with PWCA",
        "lower": "fewer epochs with PWCA",
        "equal": "no difference can be told in the epochs",
        "open": "it cannot be judged how many epochs it takes",
    }
    said = words[judge(row)]
    return f"{pair.name}, {said} to {SHARE:.0%} of the best held-out score ({_size(row, 1)})."


def tell_seconds(seconds: pd.DataFrame, pair: Pair) -> str:
    """Return how long training takes with PWCA over without; where 1 is inside, that it is open."""
    row: Row = seconds.to_dict("index")[pair.name]
    count = int(row["num_pairs"])
    if math.isnan(row["low_95"]):
        return f"{pair.name}, time cannot be judged by {count_seeds(count)}."
    size = f"{row['ratio']:.2f} times, {row['low_95']:.2f} to {row['high_95']:.2f}"
    if row["low_95"] <= 1 <= row["high_95"]:
        return f"{pair.name}, no difference in time can be told ({size}, {count_seeds(count)})."
    word = "longer" if row["ratio"] > 1 else "shorter"
    return f"{pair.name}, training is {word} with PWCA ({size}, {count_seeds(count)})."


def format_loss_weights(factors: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `measure_loss_weights` for a reader."""
    shown = factors.rename(columns=BRANCH_NAMES).rename_axis(columns=None)
    return shown.map(lambda factor: "" if math.isnan(factor) else f"{factor:.2f}")


def tell_loss_weights(factors: pd.DataFrame, pair: Pair) -> str:
    """Return how much PWCA's loss counts beside that of SA at the end, as the weights were learned.

    Empty where they are fixed.
    """
    if pair.with_pwca not in factors.index:
        return ""
    of = factors.loc[pair.with_pwca]
    ratio = of["pwca"] / of["sa"]
    return (
        f"{pair.with_pwca}, at the end the loss of PWCA counts {ratio:.2f} times that of SA "
        f"(factors {of['pwca']:.2f} and {of['sa']:.2f})."
    )


def tell_pwca(
    grids: Sequence[PwcaGrid], factors: Mapping[str, pd.DataFrame], root: str | Path
) -> str:
    """Return the answer, a line a sentence; without a grid, what there should be and what to do.

    Args:
        grids: Those that can be asked.
        factors: Of each grid's name, a table of `measure_loss_weights`.
        root: The folder that grids were looked for in.
    """
    answers = [
        f"- {grid.name}, {sentence}"
        for grid in grids
        for sentence in _tell_grid(grid, factors[grid.name])
        if sentence
    ]
    if answers:
        return "\n".join(answers)
    found = "none" if Path(root).is_dir() else "no such folder"
    return (
        f"Nothing to compare yet: expected a grid in {root} with arms that differ by PWCA alone, "
        f"found {found}; run `make ablate`, or set root to a folder that has one."
    )


def _tell_grid(grid: PwcaGrid, factors: pd.DataFrame) -> Iterator[str]:
    table, seconds = compare_pairs(grid), compare_seconds(grid)
    for pair in grid.pairs:
        yield tell_regularisation(table, pair)
        yield tell_convergence(table, pair)
        yield tell_seconds(seconds, pair)
        yield tell_loss_weights(factors, pair)


def judge(row: Row) -> str:
    """Return lower, higher, equal (no difference can be told) or open (it cannot be judged)."""
    if row["num_pairs"] < 2 or math.isnan(row["p_holm"]):
        return "open"
    if row["p_holm"] >= SIGNIFICANT:
        return "equal"
    return "lower" if row["difference"] < 0 else "higher"


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.4f}"


def _find(table: pd.DataFrame, pair: Pair, what: str) -> Row:
    return table.to_dict("index")[(pair.name, what)]


def _tell(row: Row) -> str:
    verdict = judge(row)
    if verdict == "open":
        return f"cannot be judged by {count_seeds(int(row['num_pairs']))}"
    said = "shows no difference that can be told" if verdict == "equal" else f"is {verdict}"
    if verdict == "equal" and row["p_value"] < SIGNIFICANT:
        alone = "lower" if row["difference"] < 0 else "higher"
        said = f"would be {alone} if nothing else were asked, and cannot be told among all rows"
    return f"{said} ({_size(row, 3)})"


def _size(row: Row, digits: int) -> str:
    seeds = count_seeds(int(row["num_pairs"]))
    if math.isnan(row["difference"]):
        return seeds
    if math.isnan(row["difference_low_95"]):
        return f"{row['difference']:+.{digits}f}, {seeds}"
    low, high = row["difference_low_95"], row["difference_high_95"]
    return f"{row['difference']:+.{digits}f}, {low:+.{digits}f} to {high:+.{digits}f}, {seeds}"
