"""`dcal predict`: the classes of pictures, as a table, CSV or JSON (ours)."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcal.cli.embed import BranchName, DeviceName
from dcal.cli.terminal import (
    MODEL_HELP,
    PICTURES_HELP,
    choose_device,
    name_left_out,
    require_parent,
    show_progress,
    speaking,
)

if TYPE_CHECKING:
    import pandas as pd

    from dcal.inference.prediction import Predictions

_MAX_SHOWN = 5  # pictures in the terminal where all are written to a file


class FormatName(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def predict(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    picture: Annotated[
        list[str],
        typer.Argument(help=PICTURES_HELP),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes told of each picture.")] = 3,
    output: Annotated[
        Path | None,
        typer.Option(help="Write all predictions to a file ending in .csv or .json."),
    ] = None,
    form: Annotated[
        FormatName, typer.Option("--format", help="What is written to the terminal or a pipe.")
    ] = FormatName.TABLE,
    branch: Annotated[
        BranchName | None,
        typer.Option(
            help="Predict by the SA branch (cheapest), GLCA, or the mean of both. "
            "Default: both, or sa where the model has no GLCA.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 32,
    device: Annotated[
        DeviceName, typer.Option(help="auto takes a GPU where there is one.")
    ] = DeviceName.AUTO,
) -> None:
    """Say which class each PICTURE most probably is of, by MODEL.

    Pictures that cannot be read are passed over and named, and the status is then 1; the rest is
    done.

    Example: dcal predict runs/train/model.safetensors photos --output classes.csv
    """
    with speaking():
        require_parent(output, option="--output")
        if output is not None and output.suffix not in (".csv", ".json"):
            raise ValueError(f"{output}: expected a name that ends in .csv or .json")

        from dcal.inference.opening import load_model
        from dcal.inference.own_pictures import find_pictures
        from dcal.inference.prediction import predict_pictures

        unnamed: list[str] = []
        pictures = find_pictures(picture, unnamed=unnamed)
        with show_progress() as report:
            result = predict_pictures(
                load_model(model), pictures, device=choose_device(device),
                branch=None if branch is None else branch.value, num=top, batch_size=batch_size,
                on_batch=lambda done: report("predicting", done, len(pictures)),
            )  # fmt: skip
        left_out = result.left_out | {each.partition(": ")[0]: each for each in unnamed}
        result = replace(result, left_out=left_out)
        if output is not None:
            _write(output, result)
        _tell(result, form, num_shown=None if output is None else _MAX_SHOWN)
    if result.left_out:
        num_pictures = len(pictures) + len(unnamed)
        name_left_out(list(result.left_out.values()), num_pictures=num_pictures)
        raise typer.Exit(1)


def _write(path: Path, result: Predictions) -> None:
    from dcal.paths import write_atomically

    with write_atomically(path) as temporary:
        temporary.write_text(_render(result, FormatName(path.suffix[1:])), encoding="utf-8")
    typer.echo(f"{path}: {result.table['picture'].nunique()} pictures", err=True)


def _tell(result: Predictions, form: FormatName, *, num_shown: int | None) -> None:
    if form is not FormatName.TABLE:
        sys.stdout.write(_render(result, form))
    elif len(result.table):
        _show(result.table, num_shown)


def _render(result: Predictions, form: FormatName) -> str:
    if form is FormatName.CSV:
        return result.table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    content = {
        "branch": result.branch,
        "pictures": [
            {"picture": picture, "predictions": _list_predictions(rows)}
            for picture, rows in result.table.groupby("picture", sort=False)
        ],
        "left_out": [
            {"picture": picture, "reason": reason} for picture, reason in result.left_out.items()
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _list_predictions(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"class": row["class_name"], "label": row["label"], "probability": row["probability"]}
        for row in rows.to_dict("records")
    ]


def _show(table: pd.DataFrame, num_shown: int | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("picture", overflow="fold")
    shown.add_column("class", overflow="fold")
    shown.add_column("probability", justify="right")
    shown.add_column("or", overflow="fold")
    groups = list(table.groupby("picture", sort=False))
    for picture, rows in groups[:num_shown]:
        first, *others = rows.to_dict("records")
        told = ", ".join(f"{row['class_name']} {row['probability']:.3f}" for row in others)
        shown.add_row(
            escape(str(picture)), escape(first["class_name"]), f"{first['probability']:.3f}",
            escape(told),
        )  # fmt: skip
    Console().print(shown)
    if num_shown is not None and len(groups) > num_shown:
        typer.echo(f"and {len(groups) - num_shown} more pictures")
