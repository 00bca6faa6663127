"""Stage report: self-contained pages, one about the run, the others made from notebooks."""

from __future__ import annotations

import json
import logging
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.analysis.ablation_results import list_grids
from dcal.config import Config, load_config
from dcal.data.datamodule import open_pictures
from dcal.inference.scoring import (
    TRAINED_MODEL,
    describe_scored_config,
    name_command,
    read_predictions,
)
from dcal.models.weights import read_model_card, read_tensors
from dcal.paths import write_together
from dcal.tracking import read_run_record
from dcal.visual.report import ReportInputs, TrainingResults, render_notebook, render_report
from pipelines.guard import leave_with_dvc
from pipelines.notebook import CODE_ROOT, render_body, run_notebook
from pipelines.run_history import NUM_COMPARED, find_past_runs
from pipelines.stage import run_stage

logger = logging.getLogger(__name__)

PAGE = Path("reports/report.html")
NOTEBOOKS = CODE_ROOT / "notebooks"
# What is told of one run and its data, by notebook; each has a page of its name in reports.
RUN_NOTEBOOKS = {"01_tour_of_the_data": "Tour of the data", "02_rollout": "Rollout by depth"}
# What is told of the grids in results/ablate, and of no single run: page, notebook, title.
GRIDS = Path("results/ablate")
GRID_PAGES = (
    ("reports/03_pwca_as_regulariser.html", "03_pwca_as_regulariser.py", "PWCA as a regulariser"),
    ("reports/05_ablations.html", "05_ablations.py", "Ablations"),
)
NO_GRIDS = "<p>No grid of arms and seeds was trained here yet: run <code>make ablate</code>.</p>"
GALLERY = Path("runs/rollout")


def main() -> None:
    """Read params.yaml and what the stages left, and write the pages."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    notebook_pages = [PAGE.with_name(f"{name}.html") for name in RUN_NOTEBOOKS]
    write_pages(PAGE, *notebook_pages, tells_of_grids=True)


def write_pages(
    page: Path,
    *notebook_pages: Path,
    asks_for_pictures: bool = False,
    tells_of_grids: bool = False,
    repository: Path = Path(),
    num_compared: int = NUM_COMPARED,
) -> None:
    """Write the pages about what lies in the current directory; none where one cannot be made.

    Args:
        page: The report.
        notebook_pages: Those of `RUN_NOTEBOOKS`, in their order.
        asks_for_pictures: Also of a data set whose pictures may not be passed on.
        tells_of_grids: Also the pages of `GRID_PAGES`.
        repository: Whose commits hold the runs that this one is compared with.
        num_compared: How many of them.

    Raises:
        FileNotFoundError: A stage has not run; the message names its file.
        RuntimeError: A notebook failed.
    """
    inputs = replace(read_inputs(), asks_for_pictures=asks_for_pictures)
    if inputs.training is not None:
        with chdir(repository):
            past_runs = find_past_runs(inputs.training.run, num=num_compared)
        inputs = replace(inputs, past_runs=past_runs)
    texts = {page: render_report(inputs)}
    for name, notebook_page in zip(RUN_NOTEBOOKS, notebook_pages, strict=True):
        texts[notebook_page] = render_notebook_page(inputs, name)
    if tells_of_grids:
        texts |= {
            Path(place): render_grid_page(NOTEBOOKS / notebook, title)
            for place, notebook, title in GRID_PAGES
        }
    with write_together(*texts) as temporaries:
        for temporary, text in zip(temporaries, texts.values(), strict=True):
            temporary.write_text(text, encoding="utf-8")
    for path, text in texts.items():
        place = Path(path.parent.name, path.name)
        logger.info("%s (%.1f MB): open it in a browser", place, len(text.encode()) / 1e6)


def render_notebook_page(inputs: ReportInputs, name: str) -> str:
    """Run one of `RUN_NOTEBOOKS` on the current directory's results; return its page."""
    parameters = {"project": str(Path.cwd()), "show_pictures": inputs.shows_pictures}
    body = render_body(run_notebook(NOTEBOOKS / f"{name}.py", parameters))
    return render_notebook(inputs, title=RUN_NOTEBOOKS[name], body=body)


def render_grid_page(notebook: Path, title: str) -> str:
    """Run a notebook on the grids of the current directory; without any, the page says so."""
    if list_grids(GRIDS):
        body = render_body(run_notebook(notebook, {"project": str(Path.cwd())}))
    else:
        body = f"<h1>{title}</h1>{NO_GRIDS}"
    return render_notebook(None, title=title, body=body)


def read_inputs() -> ReportInputs:
    """Gather what the page shows.

    Of a model given as evaluate.weights its card is shown, and nothing of a training run here.

    Raises:
        FileNotFoundError: A stage has not run; the message names its file.
    """
    config = load_config("params.yaml")
    pictures = open_pictures(config.dataset)
    model_path = Path(config.evaluate.weights or TRAINED_MODEL)
    card = read_model_card(model_path)
    folder = Path("results/evaluate")
    return ReportInputs(
        config=describe_scored_config(config, card),
        index_report=pictures.report,
        training=None if config.evaluate.weights else read_training(),
        card=card,
        num_parameters=count_parameters(model_path),
        metrics=read_json(find(folder / "metrics.json", config)),
        confusion=pd.read_csv(find(folder / "confusion.csv", config)),
        classes=pd.read_csv(find(folder / "per_class.csv", config)),
        localization=pd.read_csv(find(Path("results/rollout/localization.csv"), config)),
        predictions=read_predictions(
            "runs/evaluate/predictions.parquet", command=name_command(config, "evaluate")
        ),
        gallery=pd.read_csv(find(GALLERY / "index.csv", config), dtype={"name": str}),
        gallery_folder=GALLERY,
        pictures_root=pictures.root,
    )


def read_training() -> TrainingResults:
    """Read what the train stage left in results/train."""
    run = read_run_record("results/train/run.json")
    return TrainingResults(
        run=run,
        metrics=read_json(Path("results/train/metrics.json")),
        history=pd.read_csv("results/train/history.csv"),
    )


def count_parameters(path: Path) -> int:
    """Count the numbers in a model's file."""
    tensors, _ = read_tensors(path)
    return sum(tensor.numel() for tensor in tensors.values())


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of metrics."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def find(path: Path, config: Config) -> Path:
    """Return a file that the stage of its folder's name made.

    Raises:
        FileNotFoundError: It is not there.
    """
    if not path.is_file():
        command = name_command(config, path.parent.name)
        raise FileNotFoundError(f"{path}: no such file; run: {command}")
    return path


if __name__ == "__main__":
    with leave_with_dvc():
        run_stage(main, "report")
