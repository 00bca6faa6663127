"""The report's sections of numbers: scores, curves, classes (ours)."""

from __future__ import annotations

from typing import Any

from dcal.analysis.tables import (
    build_headline_table,
    compute_chance_levels,
    to_confusion_matrix,
)
from dcal.visual.confusion import (
    MAX_NAMED_CLASSES,
    draw_class_accuracies,
    draw_confusion,
    list_lowest_classes,
)
from dcal.visual.curves import describe_curves, draw_curves, list_panels, select_panel
from dcal.visual.figures import BRANCH_NAMES, figure_to_svg
from dcal.visual.report.attachments import attach_csv
from dcal.visual.report.inputs import ReportInputs, format_count, format_name, format_percent


def build_scores(inputs: ReportInputs) -> dict[str, Any]:
    """Return the section of scores: a row a branch, with interval and chance."""
    chance = compute_chance_levels(inputs.num_classes)
    table = build_headline_table(inputs.metrics, split="test", num_pictures=inputs.num_pictures)
    rows = [_score_row(inputs, str(branch), row) for branch, row in table.iterrows()]
    accuracy = inputs.metrics[f"test/{inputs.main_branch}/top1_accuracy"]
    has_held_out = any(row["held_out"] != "-" for row in rows)
    cells = [format_percent(chance["top1_accuracy"]), format_percent(chance["top5_accuracy"])]
    cells += [format_percent(chance["mean_class_accuracy"]), "", *([""] if has_held_out else [])]
    top5 = "" if inputs.num_classes > 5 else " With five classes or fewer, top-5 is 100 %."
    both = ""
    if "both" in table.index:
        both = "SA + GLCA is the mean of the two branches' probabilities. "
    return {
        "note": describe_selection(inputs),
        "rows": rows,
        "csv": attach_csv("scores.csv", table.reset_index()),
        "main": {
            "branch": inputs.main_branch,
            "name": inputs.main_name,
            "percent": f"{100 * accuracy:.1f}",
            "num_correct": format_count(accuracy * inputs.num_pictures),
        },
        "num_pictures": format_count(inputs.num_pictures),
        "chance_percent": f"{100 * chance['top1_accuracy']:.1f}",
        "chance_left": round(100 * chance["top1_accuracy"], 2),
        "chance_cells": cells,
        "held_out_heading": name_held_out(inputs, "top-1") if has_held_out else "",
        "caption": (
            "Bars: top-1 accuracy; the line on a bar is its 95 % interval over the test pictures "
            f"(not over seeds: this is one run), the upright mark is chance. {both}Class mean "
            "leaves out classes without test pictures. ECE: expected calibration error, 15 equal "
            f"bins, lower is better.{top5}" + (describe_held_out(inputs) if has_held_out else "")
        ),
    }


def describe_selection(inputs: ReportInputs) -> str:
    """Say which epoch the weights are of, what chose it, and whether pictures are missing."""
    partial = inputs.index_report.partial
    return " ".join([_describe_epoch(inputs), *(f"Partial data, {said}." for said in partial)])


def _describe_epoch(inputs: ReportInputs) -> str:
    train = inputs.config.train
    if train.selection == "last":
        return "The weights are those of the last epoch; nothing was selected."
    epoch = f"epoch {inputs.card['selected_epoch'] + 1} of {train.epochs}"
    if not inputs.knows_the_data:
        return (
            f"The weights are those of {epoch}, selected on the {train.selection} split of "
            f"{inputs.card['dataset']['name']} as it was then; whether these test pictures had a "
            "part in it is not known."
        )
    if train.selection == "val":
        return (
            f"The weights are those of {epoch}, selected on the held-out split; the test split "
            "had no part in it."
        )
    return f"The weights are those of {epoch}, selected on this very test split: too good to quote."


def name_held_out(inputs: ReportInputs, metric: str) -> str:
    """Head the column of scores that the train stage left: they are of its last epoch."""
    return f"Held-out {metric}, epoch {inputs.config.train.epochs}"


def describe_held_out(inputs: ReportInputs) -> str:
    """Say whether that column is of the weights that the others are of; starts with a space."""
    epochs, selected = inputs.config.train.epochs, inputs.card["selected_epoch"] + 1
    if selected == epochs:
        return " Held out: on the held-out split, by the same weights."
    return (
        f" Held out: on the held-out split after the last epoch, {epochs}; the other columns are "
        f"of the weights of epoch {selected}."
    )


def build_curves(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return the section of curves, one drawing a panel; None for a model that was given."""
    if inputs.training is None:
        return None
    panels, history = [], inputs.training.history
    captions = _CURVE_CAPTIONS if "train/log_variance/sa" in history else {}
    for panel in list_panels(history):
        figure = draw_curves(history, panel)
        svg = figure_to_svg(figure, description=describe_curves(history, panel))
        name = f"{panel.title.lower().replace(' ', '_')}.csv"
        panels.append(
            {
                "svg": svg,
                "caption": captions.get(panel.title, ""),
                "csv": attach_csv(name, select_panel(history, panel)),
            }
        )
    note = (
        f"From results/train/history.csv, {format_count(len(history))} logged steps. Values "
        "of the training split are means over the steps since the last point, with augmentation."
    )
    return {"panels": panels, "note": note}


# Where the weights of the losses are learned.
_CURVE_CAPTIONS = {
    "Loss": "The total weighs the branches' losses and adds the log-variances, so it may fall "
    "below zero; nothing is selected by it.",
    "Loss weights": "A loss counts with weight exp(-w) / 2. All w are learned.",
}


def build_classes(inputs: ReportInputs) -> dict[str, Any]:
    """Return the section of classes: bars of accuracy, and the confusion matrix."""
    branch, names = inputs.main_branch, inputs.index_report.class_names
    chance = compute_chance_levels(inputs.num_classes)["mean_class_accuracy"]
    shown = list_lowest_classes(inputs.classes, branch=branch)
    lowest = ", ".join(
        f"{format_name(row['class_name'])} {format_percent(row[f'{branch}_accuracy'], digits=0)}"
        for row in shown.head(3).to_dict("records")
    )
    confusion = to_confusion_matrix(inputs.confusion, num_classes=inputs.num_classes)
    note = f"Accuracy of {BRANCH_NAMES[branch]} for each class, lowest first."
    if len(shown) < len(inputs.classes):
        note += f" The {MAX_NAMED_CLASSES} lowest of {inputs.num_classes} classes are shown."
    note += " At a bar's end: pictures right of pictures scored; after a name: its label."
    bars = figure_to_svg(
        draw_class_accuracies(inputs.classes, branch=branch, chance=chance),
        description=f"Accuracy by class; lowest: {lowest}",
    )
    matrix = figure_to_svg(
        draw_confusion(confusion, names, branch=branch),
        description=f"Confusion matrix of {inputs.num_classes} classes, true classes in rows; the "
        "pairs most confused are listed below",
    )
    return {
        "bars": bars,
        "bars_csv": attach_csv("classes.csv", inputs.classes),
        "matrix": matrix,
        "matrix_csv": attach_csv("confusion.csv", inputs.confusion),
        "note": note,
    }


def _score_row(inputs: ReportInputs, branch: str, row: Any) -> dict[str, Any]:
    trained = inputs.training.metrics if inputs.training else {}
    held_out = trained.get(f"val/{branch}/top1_accuracy")
    low, high = row["top1_low"], row["top1_high"]
    return {
        "branch": branch,
        "name": BRANCH_NAMES[branch],
        "fill": round(100 * row["top1_accuracy"], 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
        "top1": format_percent(row["top1_accuracy"]),
        "range": f"{100 * low:.1f} to {100 * high:.1f}",
        "top5": format_percent(row["top5_accuracy"]),
        "class_mean": format_percent(row["mean_class_accuracy"]),
        "ece": f"{row['ece']:.3f}",
        "held_out": format_percent(held_out),
    }
