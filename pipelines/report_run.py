"""The report's pages for any run: python -m pipelines.report_run [RUN] (`make report RUN=...`)."""

from __future__ import annotations

import logging
import re
import signal
import sys
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer

from pipelines import report
from pipelines.revision import check_out
from pipelines.run_history import NUM_COMPARED
from pipelines.runs import Run, RunError, find_run
from pipelines.stage import run_command, run_stage

RESERVED = {
    report.PAGE.stem,
    *report.RUN_NOTEBOOKS,
    *(Path(place).stem for place, *_ in report.GRID_PAGES),
}


def main(
    run: Annotated[
        str,
        typer.Argument(help="experiment, git revision, MLflow run id, fingerprint; none = ours"),
    ] = "",
    pictures: Annotated[
        str, typer.Option(help="anything: show pictures that may not be passed on, for yourself")
    ] = "",
    last: Annotated[
        int, typer.Option(min=0, help="with how many of the last runs it is compared")
    ] = NUM_COMPARED,
) -> None:
    """Write the pages of the workspace's run, or of the run that the name means."""
    # Otherwise SIGTERM would leave the other revision's files behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    is_plain = not run and not pictures and last == NUM_COMPARED
    run_stage(
        report.main
        if is_plain
        else lambda: write_pages_of(run, asks_for_pictures=bool(pictures), num_compared=last)
    )


def write_pages_of(
    name: str, *, asks_for_pictures: bool = False, num_compared: int = NUM_COMPARED
) -> None:
    """Find a run, and show its files with the present code in reports/<name>*.html.

    Args:
        name: See `find_run`; empty = the workspace's.
        asks_for_pictures: Also of a data set whose pictures may not be passed on; such pages have
            names of their own, so that they are never taken for the stage's and pushed.
        num_compared: How many of the last runs it is compared with.

    Raises:
        RunError: There is no such run, or it cannot be shown; one sentence.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = find_run(name) if name else Run(None)
    suffix = "-with-pictures" if asks_for_pictures else ""
    pages = [path.resolve() for path in name_pages((name or "workspace") + suffix, run)]
    repository = Path.cwd()
    with check_out(run) as folder, chdir(folder):
        try:
            report.write_pages(
                *pages,
                asks_for_pictures=asks_for_pictures,
                repository=repository,
                num_compared=num_compared,
            )
        except (KeyError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"RUN={name}, {run.describe()}, was made by another version of this project than "
                f"the code here: {reason}; check that commit out and run there: dvc repro report"
            ) from None


def name_pages(name: str, run: Run) -> list[Path]:
    """Return where a run's pages go; those of the workspace's run are never among them."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    if stem in RESERVED:
        stem += f"-{run.commit[:8]}" if run.commit else "-workspace"
    folder = report.PAGE.parent
    notebook_pages = [folder / f"{stem}-{notebook}.html" for notebook in report.RUN_NOTEBOOKS]
    return [folder / f"{stem}.html", *notebook_pages]


if __name__ == "__main__":
    run_command(main)
