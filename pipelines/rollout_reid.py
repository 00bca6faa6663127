"""What stage rollout does with a Re-ID data set: ranked lists, under the rollout too."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import torch

from dcal.analysis.ranking_tables import choose_queries, find_worst_queries, select_queries
from dcal.inference.recipe import build_transform
from dcal.inference.scoring import Scoring
from dcal.paths import replace_folder
from dcal.visual.ranked_lists import build_lists, draw_ranked_lists, save_figure
from dcal.visual.ranked_rollouts import add_rollouts
from dcal.visual.ranking_curves import list_ranked_branches

logger = logging.getLogger(__name__)

NUM_LISTED = 8  # pictures in a row
NUM_LOOKED_AT = 3  # queries under their rollout: two rows each
TITLES = {
    "queries": "Queries drawn by the run's seed",
    "worst": "Queries of lowest average precision",
    "looking": "Where it looks, in a query and in what it found",
}


def draw_lists(
    scoring: Scoring,
    queries: pd.DataFrame,
    lists: pd.DataFrame,
    folder: Path,
    *,
    device: torch.device,
) -> pd.DataFrame:
    """Draw ranked lists into a folder, which is replaced as a whole.

    Args:
        scoring: The model, its pictures and its config.
        queries: predictions.parquet of the evaluate stage.
        lists: ranked_lists.csv of the evaluate stage.
        folder: Gets a PNG and a CSV for each of `TITLES` and index.csv; only the latter where
            `rollout.num_images`, of which a list counts as four, is below that, and no `worst`
            where every query is answered perfectly.
        device: Where to run.

    Returns:
        index.csv: name, title, num_queries.
    """
    rollout, branch = scoring.config.rollout, list_ranked_branches(queries)[-1]
    precisions = queries[f"{branch}_average_precision"].to_numpy()
    num = rollout.num_images // 4  # a query is a row of pictures
    chosen = {
        "queries": choose_queries(precisions, num=num, seed=scoring.config.seed),
        "worst": find_worst_queries(precisions, num=num),
    }
    chosen["looking"] = chosen["queries"][: min(num, NUM_LOOKED_AT)]
    notes = {
        str(path): f"AP {precision:.3f}"
        for path, precision in zip(queries["path"], precisions, strict=True)
    }
    root = scoring.pictures.root
    shown = lists.loc[lists["rank"] <= NUM_LISTED]
    records = []
    with replace_folder(folder) as target:
        for name, positions in chosen.items():
            if not len(positions):
                continue
            table = select_queries(shown, queries, positions)
            table.to_csv(target / f"{name}.csv", index=False)
            built = build_lists(table, query_root=root, gallery_root=root, notes=notes)
            if name == "looking":
                transform = build_transform(scoring.model)
                built = add_rollouts(
                    built, scoring.model, transform, device=device, num_blocks=rollout.num_blocks
                )
            save_figure(target / f"{name}.png", draw_ranked_lists(built, title=TITLES[name]))
            records.append({"name": name, "title": TITLES[name], "num_queries": len(positions)})
        index = pd.DataFrame(records, columns=["name", "title", "num_queries"])
        index.to_csv(target / "index.csv", index=False)
    return index
