"""results/ablate/<grid>: one tidy table, and what it was made from (ours)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.analysis.ablations import summarise_scores
from dcal.analysis.drawn import DRAWN_SOURCES
from dcal.config import Config
from dcal.data.partial import label_partial
from dcal.paths import write_atomically, write_json
from dcal.training.branches import choose_score_name
from pipelines.ablate.run import Ablation, Cell
from pipelines.ablate.store import Finished

logger = logging.getLogger(__name__)

RESULTS = Path("results/ablate")
ASIDE = Path("runs/ablate-replaced")
SCORES = ["arm", "seed", "branch", "metric", "value"]
CURVES = ["arm", "seed", "epoch", "metric", "value"]

Entry = tuple[Cell, Finished]


def write_results(ablation: Ablation) -> list[Path]:
    """Write what there is so far, and return the files."""
    entries = [(cell, kept) for cell in ablation.list_cells() if (kept := ablation.find(cell))]
    folder = RESULTS / ablation.name
    scores = pd.DataFrame(_list_scores(entries), columns=SCORES)
    tables = {
        "table.csv": summarise_scores(scores, baseline=ablation.grid.baseline),
        "scores.csv": scores,
        "trainings.csv": pd.DataFrame(_describe(cell, kept) for cell, kept in entries),
        "curves.csv": pd.DataFrame(_list_points(entries), columns=CURVES),
    }
    partial = ablation.ground.pictures.report.partial
    for name, table in tables.items():
        with write_atomically(folder / name) as temporary:
            label_partial(table, partial).to_csv(temporary, index=False, float_format="%.6g")
    write_json(folder / "grid.json", describe(ablation, num_done=len(entries)))
    return [folder / name for name in (*tables, "grid.json")]


def set_aside_others(ablation: Ablation) -> Path | None:
    """Move away results of a grid of this name that are of other data, parameters or code.

    They took hours, and nobody may have committed them. Return where they are; None where there
    are none, or those there are belong to this grid.
    """
    folder = RESULTS / ablation.name
    ours = {(cell.arm.name, cell.config.seed): cell.fingerprint for cell in ablation.list_cells()}
    try:
        kept = pd.read_csv(folder / "trainings.csv")[["arm", "seed", "fingerprint"]]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):  # damaged: written anew from what was trained
        return None
    rows = kept.itertuples(index=False)
    if all(ours.get((arm, seed), known) == known for arm, seed, known in rows):
        return None
    aside = ASIDE / f"{ablation.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, aside)
    logger.warning(
        "%s was of other data, parameters or code, and is now %s", folder, aside.as_posix()
    )
    return aside


def render_table(ablation: Ablation) -> str:
    """Return the rows of the score that counts, for a terminal."""
    table = pd.read_csv(RESULTS / ablation.name / "table.csv")
    score = _name_score(ablation.baseline)
    rows = table[table["metric"] == score]
    shown = pd.DataFrame(
        {
            "arm": rows["arm"],
            "branch": rows["branch"],
            "seeds": rows["num_seeds"],
            "mean": rows["mean"].map("{:.4f}".format),
            "95 %": _join(rows, "low_95", "high_95"),
            f"less {ablation.grid.baseline}": rows["difference"]
            .map(_show_difference, na_action="ignore")
            .fillna(""),
            "95 % of it": _join(rows, "difference_low_95", "difference_high_95"),
        }
    )
    return f"{score} on the test split\n{shown.to_string(index=False)}"


def _show_difference(value: float) -> str:
    text = f"{value:+.4f}"
    return text if float(text) else "0.0000"


def _join(rows: pd.DataFrame, low: str, high: str) -> pd.Series[str]:
    texts = rows[low].map("{:.4f}".format) + " to " + rows[high].map("{:.4f}".format)
    return texts.where(rows[low].notna(), "")


def describe(ablation: Ablation, *, num_done: int) -> dict[str, Any]:
    """Return what a reader of the tables has to know."""
    baseline, grid = ablation.baseline, ablation.grid
    report = ablation.ground.pictures.report
    return {
        "grid": ablation.name,
        "question": grid.question,
        "baseline": grid.baseline,
        "dataset": baseline.dataset.name,
        "kind": baseline.dataset.kind,
        "is_drawn": baseline.dataset.source_type in DRAWN_SOURCES,
        "score": _name_score(baseline),
        "seeds": grid.seeds,
        "num_planned": len(ablation.list_cells()),
        "num_done": num_done,
        "num_epochs": baseline.train.epochs,
        "selection": baseline.train.selection,
        "data_digest": report.digest,
        "partial": report.partial,
        "pwca_blocks": baseline.model.pwca_blocks,
        "epoch_time_ratios": ablation.ratios,
        "environment": ablation.ground.environment.model_dump(mode="json"),
        "arms": {arm.name: arm.overrides for arm in ablation.arms},
    }


def _name_score(config: Config) -> str:
    return choose_score_name(config.dataset.kind)


def _list_scores(entries: list[Entry]) -> Iterator[tuple[Any, ...]]:
    for cell, kept in entries:
        for key, value in kept.scores.items():
            _, branch, metric = key.split("/")
            yield cell.arm.name, cell.config.seed, branch, metric, value


def _list_points(entries: list[Entry]) -> Iterator[tuple[Any, ...]]:
    for cell, kept in entries:
        for record in kept.curves:
            for metric, value in record.items():
                if metric != "epoch":
                    yield cell.arm.name, cell.config.seed, record["epoch"], metric, value


def _describe(cell: Cell, kept: Finished) -> dict[str, Any]:
    columns = ("epochs", "steps", "seconds", "selected_epoch", "fingerprint", "reason")
    row = {name: getattr(kept, name) for name in columns}
    return {"arm": cell.arm.name, "seed": cell.config.seed, **row}
