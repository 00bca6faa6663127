"""The report's sections of a Re-ID run: scores, ranked lists, identities, mix-ups (ours)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dcal.visual.figures import BRANCH_NAMES, figure_to_svg, image_to_uri
from dcal.visual.ranking_curves import (
    MAX_NAMED_IDENTITIES,
    describe_cmc,
    draw_cmc,
    draw_hardest_identities,
    list_hardest_identities,
    list_ranked_branches,
    tabulate_cmc,
)
from dcal.visual.report.attachments import Attachment, attach_csv
from dcal.visual.report.inputs import ReportInputs, format_counted, format_percent
from dcal.visual.report.scores import describe_held_out, describe_selection, name_held_out

NUM_MIX_UPS = 12
LISTS = ("queries", "worst")
LOOKING = "looking"
_CELLS = ("cmc_1", "cmc_5", "cmc_10", "mean_inp")


def build_ranking(inputs: ReportInputs) -> dict[str, Any]:
    """Return the sections that stand where a page about classes has its own."""
    return {
        "scores": _build_scores(inputs),
        "lists": _build_lists(inputs),
        "identities": _build_identities(inputs),
        "pairs": _build_mix_ups(inputs),
    }


def build_figures(inputs: ReportInputs, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rollout stage's figures of these names; none where pictures may not be shown."""
    if not inputs.shows_pictures:
        return []
    figures = []
    for row in inputs.gallery.to_dict("records"):
        if row["name"] in names:
            with Image.open(inputs.gallery_folder / f"{row['name']}.png") as opened:
                pixels = np.asarray(opened.convert("RGB"))
            num = format_counted(row["num_queries"], "query", "queries, each")
            alt = f"{row['title']}: {num} with what was found for it"
            height, width = pixels.shape[:2]
            uri = image_to_uri(pixels, quality=75)
            # Drawn at 150 dots an inch; a page has 96.
            figures.append(
                {
                    "uri": uri,
                    "alt": alt,
                    "width": width * 96 // 150,
                    "height": height * 96 // 150,
                    "csv": _attach_lists(inputs, row["name"]),
                }
            )
    return figures


def _attach_lists(inputs: ReportInputs, name: str) -> Attachment:
    table = pd.read_csv(inputs.gallery_folder / f"{name}.csv")
    return attach_csv(f"lists_{name}.csv", table)


def _build_scores(inputs: ReportInputs) -> dict[str, Any]:
    branches = list_ranked_branches(inputs.predictions)
    rows = [_build_row(inputs, branch) for branch in branches]
    has_reranked = f"test/{branches[0]}/reranked_mean_ap" in inputs.metrics
    if has_reranked:
        rows += [_build_row(inputs, branch, prefix="reranked_") for branch in branches]
    main, metrics = inputs.main_branch, inputs.metrics
    num_invalid = int(metrics["test/num_queries"] - metrics["test/num_valid_queries"])
    rule = inputs.config.evaluate.average_precision
    caption = (
        "Bars: mean AP; the line on a bar is its 95 % interval over the queries (normal "
        "approximation; not over seeds: this is one run). Pictures of the query's own identity and "
        f"camera are left out of its list. Average precision by the {rule} rule; mean INP: "
        "positives over the rank of the last of them."
    )
    if num_invalid:
        has = format_counted(num_invalid, "query has", "queries have")
        is_in = "is" if num_invalid == 1 else "are"
        caption += f" {has} no match to be found and {is_in} in no score."
    if has_reranked:
        caption += (
            " Re-ranked: k-reciprocal, which uses what the gallery's pictures say of each other; "
            "not to be compared with plain scores."
        )
    has_held_out = any(row["held_out"] != "-" for row in rows)
    if has_held_out:
        caption += describe_held_out(inputs)
    return {
        "note": describe_selection(inputs),
        "rows": rows,
        "csv": attach_csv("scores.csv", _tabulate_scores(inputs.metrics, branches)),
        "held_out_heading": name_held_out(inputs, "mean AP") if has_held_out else "",
        "main": {
            "branch": main,
            "name": BRANCH_NAMES[main],
            "percent": f"{100 * metrics[f'test/{main}/mean_ap']:.1f}",
            "queries": format_counted(metrics["test/num_valid_queries"], "query", "queries"),
            "gallery": format_counted(
                metrics["test/num_gallery"], "gallery picture", "gallery pictures"
            ),
            "rank_1": format_percent(metrics[f"test/{main}/cmc_1"]),
        },
        "caption": caption,
    }


def _tabulate_scores(metrics: Mapping[str, float], branches: list[str]) -> pd.DataFrame:
    """Return a row a branch, with every score of its own."""
    rows = [
        {"branch": branch}
        | {
            key.removeprefix(f"test/{branch}/"): value
            for key, value in metrics.items()
            if key.startswith(f"test/{branch}/")
        }
        for branch in branches
    ]
    return pd.DataFrame(rows)


def _build_row(inputs: ReportInputs, branch: str, *, prefix: str = "") -> dict[str, Any]:
    metrics = inputs.metrics
    mean_ap = metrics[f"test/{branch}/{prefix}mean_ap"]
    low, high = mean_ap, mean_ap
    if not prefix:
        values = inputs.predictions[f"{branch}_average_precision"].dropna()
        half = 1.96 * float(values.std(ddof=0)) / math.sqrt(len(values))
        low, high = max(0.0, mean_ap - half), min(1.0, mean_ap + half)
    trained = inputs.training.metrics if inputs.training and not prefix else {}
    cells = [format_percent(metrics[f"test/{branch}/{prefix}{name}"]) for name in _CELLS]
    return {
        "branch": branch,
        "name": BRANCH_NAMES[branch],
        "is_reranked": bool(prefix),
        "fill": round(100 * mean_ap, 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
        "mean_ap": format_percent(mean_ap),
        "range": "" if prefix else f"{100 * low:.1f} to {100 * high:.1f}",
        "cells": cells,
        "held_out": format_percent(trained.get(f"val/{branch}/mean_ap")),
    }


def _build_lists(inputs: ReportInputs) -> dict[str, Any]:
    note = (
        f"Nearest first, by {inputs.main_name}: a solid green frame and a tick are the query's "
        "identity, a dashed red one and a cross another's. All lists are in "
        "runs/evaluate/ranked_lists.csv."
    )
    drawn = set(inputs.gallery["name"])
    if "queries" in drawn and "worst" not in drawn:
        note += " No query has an average precision below 1, so there is no list of the worst."
    if not inputs.shows_pictures:
        note += " The data set may not be redistributed, so its pictures are not shown."
    return {"note": note, "figures": build_figures(inputs, LISTS)}


def _build_identities(inputs: ReportInputs) -> dict[str, Any]:
    branch, table = inputs.main_branch, inputs.classes
    shown = list_hardest_identities(table, branch=branch)
    note = f"Mean AP of {BRANCH_NAMES[branch]} for each identity of the queries, lowest first."
    if len(shown) < len(table):
        note += f" The {MAX_NAMED_IDENTITIES} lowest of {len(table)} are shown."
    lowest = ", ".join(
        f"{row['identity']} {row[f'{branch}_mean_ap']:.2f}"
        for row in shown.head(3).to_dict("records")
    )
    bars = figure_to_svg(
        draw_hardest_identities(table, branch=branch),
        description=f"Mean AP by identity; lowest: {lowest}",
    )
    queries = inputs.predictions
    num_gallery = int(inputs.metrics["test/num_gallery"])
    cmc = figure_to_svg(
        draw_cmc(queries, num_gallery=num_gallery),
        description=describe_cmc(queries, num_gallery=num_gallery),
    )
    curves = tabulate_cmc(queries, num_gallery=num_gallery)
    return {
        "note": note,
        "bars": bars,
        "bars_csv": attach_csv("identities.csv", table),
        "cmc": cmc,
        "cmc_csv": attach_csv("cmc.csv", curves),
    }


def _build_mix_ups(inputs: ReportInputs) -> dict[str, Any] | None:
    table = inputs.confusion.loc[inputs.confusion["num_ahead"] > 0].head(NUM_MIX_UPS)
    if table.empty:
        return None
    rows = [{**row, "distance": f"{row['distance']:.3f}"} for row in table.to_dict("records")]
    note = (
        "For how many queries of an identity this is the nearest wrong one, and how often it is "
        "nearer than every right picture. All are in results/evaluate/confusion.csv."
    )
    return {"rows": rows, "note": note, "csv": attach_csv("mix_ups.csv", inputs.confusion)}
