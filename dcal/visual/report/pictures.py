"""The report's sections of pictures: confused pairs, and where the model looks (ours)."""

from __future__ import annotations

import base64
from typing import Any

import pandas as pd
from PIL import Image

from dcal.analysis.tables import find_confused_pairs
from dcal.data.index import list_cuts
from dcal.inference.localization import SELECTION
from dcal.visual.report.attachments import attach_csv
from dcal.visual.report.inputs import ReportInputs, format_blocks, format_name, format_percent
from dcal.visual.report.ranking import LOOKING, build_figures
from dcal.visual.thumbnails import THUMBNAIL_SIDE, make_thumbnail

NUM_PAIRS = 6
NUM_GALLERY = 16  # more would make the page slow on a phone

SCORE_NAMES = {
    "pointing_game": "pointing game: peak on a part",
    "energy_share": "energy on the parts",
    "chosen_on_parts": "chosen area that is part",
    "parts_chosen": "part area that is chosen",
}


def build_pairs(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return the section of confused pairs; None where nothing was confused."""
    pairs = find_confused_pairs(inputs.confusion, num_pairs=NUM_PAIRS)
    if pairs.empty:
        return None
    rows = []
    for pair in pairs.to_dict("records"):
        forth, back = pair["first_as_second"], pair["second_as_first"]
        counts = f"A for B: {forth}" + (f", B for A: {back}" if back else "")
        rows.append(
            {
                "first": format_name(pair["first_name"]),
                "second": format_name(pair["second_name"]),
                "counts": counts,
                "sides": _build_sides(inputs, pair) if inputs.shows_pictures else [],
            }
        )
    note = f"Pairs that {inputs.main_name} mixes up most often on the test split."
    if not inputs.shows_pictures:
        note += " The data set may not be redistributed, so its pictures are not shown."
    every = find_confused_pairs(inputs.confusion, num_pairs=len(inputs.confusion))
    return {"rows": rows, "note": note, "csv": attach_csv("confused_pairs.csv", every)}


def build_looking(inputs: ReportInputs) -> dict[str, Any]:
    """Return the section on where the model looks: table of scores, and the gallery."""
    rows = [_build_looking_row(row) for row in inputs.localization.to_dict("records")]
    note = "Attention rollout of the SA stream: how much each patch reaches the class token."
    if SELECTION in set(inputs.localization["branch"]):
        note += (
            " Models are compared at one depth; GLCA selects its patches by the rollout over fewer "
            "blocks."
        )
    if not rows:
        note += " The data set has no part annotation, so there are no scores."
    items = _build_gallery(inputs) if inputs.shows_pictures and not inputs.is_reid else []
    caption = ""
    if rows:
        num_pictures = int(inputs.localization["num_pictures"].max())
        parts = ", ".join(
            name.replace("_", " ") for name in inputs.index_report.discriminative_parts
        )
        caption = (
            f"Over {num_pictures} test pictures; parts: {parts}. Bar: the model; upright mark: "
            "chance, which is a peak put on a random patch, a map that is the same everywhere, or "
            "patches chosen at random. A peak may miss a part by half a patch."
        )
    return {
        "note": note,
        "rows": rows,
        "caption": caption,
        "csv": attach_csv("localization.csv", inputs.localization) if rows else None,
        "gallery": items,
        "gallery_csv": attach_csv("overlays.csv", inputs.gallery) if items else None,
        "gallery_note": "" if inputs.is_reid else _gallery_note(inputs, num_shown=len(items)),
        "figures": build_figures(inputs, (LOOKING,)) if inputs.is_reid else [],
    }


def _build_sides(inputs: ReportInputs, pair: dict[Any, Any]) -> list[dict[str, Any]]:
    branch, table = inputs.main_branch, inputs.predictions
    first, second = pair["first"], pair["second"]
    label, prediction = table["label"], table[f"{branch}_prediction"]
    cells = {
        "A, right": (label == first) & (prediction == first),
        "A taken for B": (label == first) & (prediction == second),
        "B, right": (label == second) & (prediction == second),
    }
    names = f"A is {pair['first_name']}, B is {pair['second_name']}"
    sides = []
    for text, is_shown in cells.items():
        # The surest ones: those that the model's mind is made up about.
        chosen = table.loc[is_shown].sort_values(
            [f"{branch}_probability", "path"], ascending=[False, True]
        )
        shown = chosen.head(2)
        pictures = [
            _build_thumbnail(inputs, path, cut, alt=f"Test picture {path}, {text} ({names})")
            for path, cut in zip(shown["path"], list_cuts(shown), strict=True)
        ]
        sides.append({"label": text, "pictures": pictures})
    return sides


def _build_thumbnail(inputs: ReportInputs, path: str, cut: int, *, alt: str) -> dict[str, Any]:
    made = make_thumbnail(inputs.pictures_root / path, cut_bottom=cut)
    height = round(THUMBNAIL_SIDE * made.height / made.width)
    return {"uri": made.uri, "alt": alt, "height": height}


def _build_looking_row(row: dict[Any, Any]) -> dict[str, Any]:
    selects = row["branch"] == SELECTION
    role = "selects for GLCA" if selects else "compared"
    value, chance = row["value"], row["chance"]
    return {
        "depth": f"{format_blocks(row['num_blocks'])}, {role}",
        "score": SCORE_NAMES[row["score"]],
        "colour": "glca" if selects else "sa",
        "fill": round(100 * value, 2),
        "tick": round(100 * chance, 2),
        "value": format_percent(value),
        "chance": format_percent(chance),
        "ratio": f"{value / chance:.1f}" if chance > 0 else "-",
    }


def _build_gallery(inputs: ReportInputs) -> list[dict[str, Any]]:
    return [
        _build_gallery_item(inputs, row)
        for row in inputs.gallery.head(NUM_GALLERY).to_dict("records")
    ]


def _build_gallery_item(inputs: ReportInputs, row: dict[Any, Any]) -> dict[str, Any]:
    said = f"{format_percent(row['probability'], digits=0)} sure"
    if not row["is_correct"]:
        said = f"taken for {format_name(row['predicted_name'])}, {said}"
    labels = {
        "picture": "picture",
        "rollout": row["rollout_label"],
        "choice": row["choice_label"],
        "parts": "annotated parts",
    }
    panels = []
    for name, label in labels.items():
        file = inputs.gallery_folder / "panels" / f"{row['name']}_{name}.webp"
        if name == "parts" and not row["has_parts"]:
            continue
        with Image.open(file) as opened:
            width, height = opened.size
        encoded = base64.b64encode(file.read_bytes()).decode("ascii")
        panels.append(
            {
                "uri": f"data:image/webp;base64,{encoded}",
                "alt": f"{label} of test picture {row['path']}, class {row['class_name']}",
                "label": label,
                "width": width,
                "height": height,
            }
        )
    return {
        "name": format_name(row["class_name"]),
        "is_correct": bool(row["is_correct"]),
        "said": said,
        "panels": panels,
    }


def _gallery_note(inputs: ReportInputs, *, num_shown: int) -> str:
    table: pd.DataFrame = inputs.gallery
    if not inputs.shows_pictures:
        return (
            f"{len(table)} overlays were drawn to {inputs.gallery_folder.as_posix()}. The data set "
            "may not be redistributed, so none of its pictures is on this page."
        )
    num_wrong = int((~table["is_correct"].astype(bool)).sum())
    note = (
        f"{len(table)} test pictures drawn by the run's seed, half of them from the wrong ones and "
        f"half from the right ones as far as there are as many: {num_wrong} are wrong"
    )
    if num_shown < len(table):
        note += f"; the first {num_shown} are shown, all are in {inputs.gallery_folder.as_posix()}"
    return note + "."
