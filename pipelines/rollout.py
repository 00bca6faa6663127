"""Stage rollout: draw where the model looks, and score it against part annotation."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from dcal.analysis.tables import flatten_localization, summarise_localization
from dcal.config import Config, load_config
from dcal.data.partial import label_partial
from dcal.inference.depths import choose_test_rows, find_test_split
from dcal.inference.localization import compute_tolerance, score_looking
from dcal.inference.parts import PartMasks, build_part_masks
from dcal.inference.scoring import (
    Scoring,
    build_scoring_loader,
    name_command,
    open_scoring,
    read_predictions,
)
from dcal.paths import write_atomically, write_json
from dcal.processor import prepare_cpu
from dcal.tracking import Tracker, read_run_record, resume_run
from dcal.training.runtime import resolve_runtime
from dcal.visual.attention_maps import save_gallery, stack_pictures
from dcal.visual.gallery import build_gallery
from pipelines.guard import leave_with_dvc
from pipelines.rollout_reid import draw_lists
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)

SPLIT = "test"
NUM_ON_SHEET = 4
RESULTS, GALLERY = Path("results/rollout"), Path("runs/rollout")
LISTS = Path("runs/evaluate/ranked_lists.csv")


def main() -> None:
    """Read params.yaml, draw overlays of some test pictures, and score where parts are known."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_cpu()
    config = load_config("params.yaml")
    device = torch.device(resolve_runtime(config.train).accelerator)
    scoring = open_scoring(config)
    predictions = read_predictions(
        "runs/evaluate/predictions.parquet", command=name_command(config, "evaluate")
    )
    masks = build_part_masks(scoring)
    if config.dataset.kind == "reid":
        lists = read_lists(command=name_command(config, "evaluate"))
        table = draw_lists(scoring, predictions, lists, GALLERY, device=device)
    else:
        overlays, table = build_gallery(scoring, predictions, masks, split=SPLIT, device=device)
        save_gallery(GALLERY, overlays, table)
    summary, counts = score(scoring, masks, device=device)
    metrics = flatten_localization(summary, split=SPLIT) | counts
    with write_atomically(RESULTS / "localization.csv") as temporary:
        label_partial(summary, scoring.pictures.report.partial).to_csv(temporary, index=False)
    write_json(RESULTS / "metrics.json", metrics)
    track(config, metrics, names=table["name"].tolist())
    what = "figures of ranked lists" if config.dataset.kind == "reid" else "overlays"
    logger.info("%d %s in %s", len(table), what, GALLERY)
    for row in summary.to_dict("records"):
        logger.info("%-9s %-15s %.3f (chance %.3f)", *(row[key] for key in _LOGGED))


_LOGGED = ("branch", "score", "value", "chance")


def read_lists(*, command: str) -> pd.DataFrame:
    """Read the ranked lists that the evaluate stage wrote.

    Raises:
        FileNotFoundError: It has not run; the message names `command`.
    """
    if not LISTS.is_file():
        raise FileNotFoundError(f"{LISTS}: no such file; run: {command}")
    return pd.read_csv(LISTS)


def score(
    scoring: Scoring, masks: PartMasks, *, device: torch.device
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Score rollout.score_images test pictures; the table is empty without part annotation."""
    rollout, model = scoring.config.rollout, scoring.model
    if not scoring.pictures.report.discriminative_parts:
        logger.info("no part annotation: overlays only, no scores")
        return summarise_localization(pd.DataFrame()), {}
    rows = choose_test_rows(scoring, num=rollout.score_images)
    if not rows:
        return summarise_localization(pd.DataFrame()), {}
    scores, num_left_out = score_looking(
        model,
        build_scoring_loader(scoring, find_test_split(scoring), rows=rows),
        masks,
        device=device,
        num_blocks=rollout.num_blocks,
        tolerance=compute_tolerance(scoring),
    )
    counts = {"num_scored": len(rows) - num_left_out, "num_without_visible_parts": num_left_out}
    return summarise_localization(scores), {f"{SPLIT}/{key}": n for key, n in counts.items()}


def track(config: Config, metrics: dict[str, float], *, names: list[str]) -> None:
    """Add scores and, where the pictures may be passed on, overlays to the run of train."""
    if config.evaluate.weights is not None:
        logger.info("evaluate.weights is given: nothing is added to the MLflow run of train")
        return
    tracker = resume_run(read_run_record("results/train/run.json"))
    tracker.log_scores(metrics)
    tracker.log_file(RESULTS / "localization.csv", "rollout")
    pictures = [GALLERY / f"{name}.png" for name in names]
    if config.dataset.redistributable and pictures:
        for picture in pictures:
            tracker.log_file(picture, "rollout")
        log_sheet(tracker, pictures[:NUM_ON_SHEET])
    tracker.end()


def log_sheet(tracker: Tracker, pictures: list[Path]) -> None:
    """Keep some pictures as one, overlays.png, outside of any folder.

    MLflow's page that compares runs shows only such files side by side.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "overlays.png"
        stack_pictures(pictures).save(path)
        tracker.log_file(path, "")


if __name__ == "__main__":
    with leave_with_dvc():
        run_stage(main, "rollout")
