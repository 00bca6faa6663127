"""From predictions, counts and histories to the tables that are read (ours)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

BRANCHES = ("sa", "glca", "pwca", "both")
# A spawn key of its own keeps this choice apart from other uses of the run's seed.
_PICTURE_CHOICE = 1000
METRICS = ("top1_accuracy", "top5_accuracy", "mean_class_accuracy", "ece")


def build_confusion_table(confusion: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """List the non-empty cells of a confusion matrix.

    Args:
        confusion: Counts (C, C); rows are the true classes.
        class_names: In label order.

    Returns:
        Columns label, prediction, class_name, predicted_name, count.
    """
    labels, predictions = np.nonzero(confusion)
    names = np.asarray(class_names, dtype=object)
    return pd.DataFrame(
        {
            "label": labels,
            "prediction": predictions,
            "class_name": names[labels],
            "predicted_name": names[predictions],
            "count": confusion[labels, predictions].astype("int64"),
        }
    )


def to_confusion_matrix(table: pd.DataFrame, *, num_classes: int) -> np.ndarray:
    """Return the counts (C, C) of a table made by `build_confusion_table`."""
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    confusion[table["label"], table["prediction"]] = table["count"]
    return confusion


def build_class_table(
    predictions: pd.DataFrame, class_names: Sequence[str], *, branches: Sequence[str]
) -> pd.DataFrame:
    """Count pictures and correct answers of every class.

    Returns:
        One row a class in label order: label, class_name, num_pictures, and for each branch
        `<branch>_correct` and `<branch>_accuracy` (empty for a class without pictures).
    """
    num_classes = len(class_names)
    labels = predictions["label"].to_numpy()
    counts = np.bincount(labels, minlength=num_classes)
    table = pd.DataFrame(
        {
            "label": np.arange(num_classes),
            "class_name": list(class_names),
            "num_pictures": counts,
        }
    )
    for branch in branches:
        is_correct = predictions[f"{branch}_prediction"].to_numpy() == labels
        correct = np.bincount(labels[is_correct], minlength=num_classes)
        table[f"{branch}_correct"] = correct
        table[f"{branch}_accuracy"] = np.where(counts > 0, correct / np.maximum(counts, 1), np.nan)
    return table


def find_confused_pairs(confusion: pd.DataFrame, *, num_pairs: int) -> pd.DataFrame:
    """Return the pairs of classes that are taken for each other most often.

    Args:
        confusion: A table made by `build_confusion_table`.
        num_pairs: At most so many.

    Returns:
        Most confused first, equal ones in label order: first, second (labels; of the two
        directions the more frequent one is first taken for second), first_name, second_name,
        first_as_second, second_as_first, count (their sum).
    """
    errors = confusion.loc[confusion["label"] != confusion["prediction"]]
    counts = {
        (label, prediction): count
        for label, prediction, count in zip(
            errors["label"].tolist(),
            errors["prediction"].tolist(),
            errors["count"].tolist(),
            strict=True,
        )
    }
    names = dict(zip(confusion["label"], confusion["class_name"], strict=True))
    names |= dict(zip(confusion["prediction"], confusion["predicted_name"], strict=True))
    rows = []
    for pair in sorted({(min(cell), max(cell)) for cell in counts}):
        first, second = max((pair, pair[::-1]), key=lambda cell: counts.get(cell, 0))
        forth, back = counts.get((first, second), 0), counts.get((second, first), 0)
        rows.append((first, second, names[first], names[second], forth, back, forth + back))
    columns = ["first", "second", "first_name", "second_name"]
    columns += ["first_as_second", "second_as_first", "count"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("count", ascending=False, kind="stable").head(num_pairs)


def build_headline_table(
    metrics: Mapping[str, float], *, split: str, num_pictures: int
) -> pd.DataFrame:
    """Turn `<split>/<branch>/<metric>` into one row a branch.

    Returns:
        Index: branch, in the order sa, glca, both. Columns: the classification metrics, then
        top1_low and top1_high, the 95 % Wilson interval over the test pictures. It says how far
        another draw of as many pictures would move the score, not how far another seed would.
    """
    rows = {}
    for branch in BRANCHES:
        values = {name: metrics.get(f"{split}/{branch}/{name}") for name in METRICS}
        accuracy = values["top1_accuracy"]
        if accuracy is not None:
            low, high = compute_wilson_interval(accuracy, num_pictures)
            rows[branch] = {**values, "top1_low": low, "top1_high": high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("branch")


def compute_wilson_interval(share: float, num_pictures: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share of `num_pictures` pictures."""
    z = 1.959963984540054
    spread = z**2 / num_pictures
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / num_pictures + spread / num_pictures / 4)
    half /= 1 + spread
    return max(centre - half, 0.0), min(centre + half, 1.0)


def compute_chance_levels(num_classes: int) -> dict[str, float]:
    """Return what guessing among all classes alike gets: top-1, top-5 and class mean."""
    return {
        "top1_accuracy": 1 / num_classes,
        "top5_accuracy": min(5, num_classes) / num_classes,
        "mean_class_accuracy": 1 / num_classes,
    }


def select_curves(history: pd.DataFrame, keys: Mapping[str, str]) -> pd.DataFrame:
    """Make some columns of a training history long.

    Args:
        history: One row a logged step; empty where a metric was not logged.
        keys: Column -> name of the curve; columns that the history lacks are left out.

    Returns:
        Columns step, curve, value; points that were not logged are left out.
    """
    present = {key: name for key, name in keys.items() if key in history}
    long = history[["step", *present]].rename(columns=present)
    long = long.melt(id_vars="step", var_name="curve", value_name="value")
    return long.dropna(subset="value").reset_index(drop=True)


def summarise_localization(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the localisation scores of all pictures beside their chance levels.

    Args:
        scores: What `dcal.inference.localization.score_looking` returned.

    Returns:
        One row a branch and score: branch, num_blocks, score, value, chance, num_pictures.
    """
    chances = {
        "pointing_game": "pointing_game_chance",
        "energy_share": "area_share",
        "chosen_on_parts": "area_share",
        "parts_chosen": "chosen_share",
    }
    columns = ["branch", "num_blocks", "score", "value", "chance", "num_pictures"]
    if scores.empty:
        return pd.DataFrame(columns=columns)
    rows = []
    for (branch, num_blocks), part in scores.groupby(["branch", "num_blocks"], sort=False):
        for score, chance in chances.items():
            if score not in part:  # no model of these chose patches
                continue
            values = part[score].dropna()
            if len(values):
                expected = float(part[chance].mean())
                rows.append(
                    (branch, num_blocks, score, float(values.mean()), expected, len(values))
                )
    return pd.DataFrame(rows, columns=columns)


def flatten_localization(summary: pd.DataFrame, *, split: str) -> dict[str, float]:
    """Turn `summarise_localization` into `<split>/<branch>/<score>` and `..._chance`."""
    metrics: dict[str, float] = {}
    for row in summary.to_dict("records"):
        key = f"{split}/{row['branch']}/{row['score']}"
        metrics |= {key: row["value"], f"{key}_chance": row["chance"]}
    return metrics


def choose_pictures(predictions: pd.DataFrame, *, branch: str, num: int, seed: int) -> pd.DataFrame:
    """Draw pictures to look at, half of them wrong where there are so many.

    Args:
        predictions: One row a picture.
        branch: Whose predictions count.
        num: How many to draw; all where there are fewer.
        seed: The choice is a function of it and of the predictions.

    Returns:
        Some rows of the table, in its order.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PICTURE_CHOICE,)))
    is_wrong = (predictions["label"] != predictions[f"{branch}_prediction"]).to_numpy()
    order = generator.permutation(len(predictions))
    wrong, right = order[is_wrong[order]], order[~is_wrong[order]]
    num_wrong = max(min(num // 2, len(wrong)), num - len(right))
    chosen = np.concatenate([wrong[:num_wrong], right[: max(num - num_wrong, 0)]])
    return predictions.iloc[np.sort(chosen)]
