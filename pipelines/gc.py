"""Show what training keeps beside DVC, and free what the rule lets go (ours).

    python -m pipelines.gc              the rule: finished for a day, or idle for thirty
    python -m pipelines.gc 1f0c2a 77ab  these runs, whatever their age
    python -m pipelines.gc --all        all but those that are being trained
    python -m pipelines.gc --dry-run    only show

DVC's own cache is freed by `dvc gc`.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dcal.training.retention import KeptRun, describe_age, free, list_kept_runs


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="fingerprints, or how they begin; none = the rule")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="all runs but running ones")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show, free nothing")] = False,
) -> None:
    """Show kept training state and free what may go."""
    runs = list_kept_runs()
    try:
        chosen = choose(runs, names or [], everything=everything)
    except ValueError as error:
        sys.exit(f"gc: {error}")
    freed = {run.name: 0 if dry_run else free(run) for run in chosen}
    console = Console()
    console.print(build_table(runs, freed, dry_run=dry_run))
    kept = sum(run.num_bytes for run in runs) - sum(freed.values())
    console.print(f"freed {format_bytes(sum(freed.values()))}, kept {format_bytes(kept)}")


def choose(runs: list[KeptRun], names: list[str], *, everything: bool = False) -> list[KeptRun]:
    """Return the runs to free.

    Raises:
        ValueError: A name fits no run, or one that is being trained.
    """
    if everything:
        return [run for run in runs if run.status != "running"]
    if not names:
        return [run for run in runs if run.is_disposable]
    chosen = []
    for name in names:
        found = [run for run in runs if run.name.startswith(name)]
        if not found:
            known = ", ".join(run.name for run in runs) or "none"
            raise ValueError(f"{name}: no run begins so; kept are: {known}")
        if any(run.status == "running" for run in found):
            raise ValueError(f"{name}: is being trained; stop it first")
        chosen += found
    return chosen


def build_table(runs: list[KeptRun], freed: dict[str, int], *, dry_run: bool) -> Table:
    """Return a row a run."""
    table = Table("run", "status", "step", "size", "idle for", "")
    for run in runs:
        done = "would be freed" if dry_run else "freed" if freed.get(run.name) else "in use"
        table.add_row(
            run.name,
            run.status,
            str(run.step),
            format_bytes(run.num_bytes),
            describe_age(run.idle_seconds),
            done if run.name in freed else "kept",
        )
    return table


def format_bytes(number: float) -> str:
    """Write a size."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


if __name__ == "__main__":
    typer.run(main)
