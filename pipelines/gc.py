"""Show what is kept beside DVC, and free what the rule lets go (ours).

    python -m pipelines.gc              the rule, see below
    python -m pipelines.gc 1f0c2a 77ab  these, whatever their age
    python -m pipelines.gc --all        all that may be freed at all
    python -m pipelines.gc --dry-run    only show

Checkpoints go a day after their run has finished, and after thirty days where it was interrupted; a
run that is being trained keeps them. What MLflow has of a run goes from mlflow-spool/ after thirty
days; what it does not have stays. Pictures that prepare resized go thirty days after they were last
opened; `python -m pipelines.prepare` makes them again. DVC's own cache is freed by `dvc gc`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Column, Table

from dcal.data.cached import KeptCache, list_caches
from dcal.paths import work_root
from dcal.tracking.spool import SpoolSummary, list_spools, remove_spool
from dcal.training.retention import (
    KEPT_SECONDS,
    KeptRun,
    describe_age,
    free,
    list_kept_runs,
)
from pipelines.stage import run_command

# Until then a database that was lost can be filled again from the spool.
SPOOL_SECONDS = KEPT_SECONDS["interrupted"]
CACHE_SECONDS = KEPT_SECONDS["interrupted"]


class Kept(NamedTuple):
    """What one run, or one data set, keeps in one place."""

    what: str
    name: str
    status: str
    num_bytes: int
    idle_seconds: float
    is_disposable: bool  # by the rule
    refusal: str | None  # why it cannot be freed at all
    free: Callable[[], int]  # returns the bytes that it freed


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="names, or how they begin; none = the rule")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="all that may be freed")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show, free nothing")] = False,
) -> None:
    """Show what runs keep and free what may go."""
    kept = list_kept()
    try:
        chosen = choose(kept, names or [], everything=everything)
    except ValueError as error:
        sys.exit(f"gc: {error}")
    freed = {entry.name: 0 if dry_run else entry.free() for entry in chosen}
    console = Console()
    console.print(build_table(kept, freed, dry_run=dry_run))
    left = sum(entry.num_bytes for entry in kept) - sum(freed.values())
    console.print(f"freed {format_bytes(sum(freed.values()))}, kept {format_bytes(left)}")


def list_kept() -> list[Kept]:
    """Return what is kept, checkpoints first, resized pictures last, the largest of each first."""
    spools = sorted(list_spools(work_root()), key=lambda spool: spool.num_bytes, reverse=True)
    return [
        *(describe_checkpoints(run) for run in list_kept_runs()),
        *(describe_spool(spool) for spool in spools),
        *(describe_cache(cache) for cache in list_caches()),
    ]


def describe_checkpoints(run: KeptRun) -> Kept:
    """Describe a run's checkpoints."""
    return Kept(
        "checkpoints",
        run.name,
        f"{run.status}, step {run.step}",
        run.num_bytes,
        run.idle_seconds,
        run.is_disposable,
        "is being trained; stop it first" if run.status == "running" else None,
        partial(free, run),
    )


def describe_spool(summary: SpoolSummary) -> Kept:
    """Describe what a run said to MLflow."""
    idle = max(0.0, time.time() - summary.last_change.timestamp())
    if summary.spool.is_being_sent():
        status, refusal = "being sent", "a running process still sends it"
    elif summary.num_waiting:
        status = f"{summary.num_waiting} wait for MLflow"
        refusal = f"{summary.num_waiting} entries wait for MLflow; run: make sync"
    else:
        status, refusal = "delivered", None
    return Kept(
        "mlflow-spool",
        summary.run_key,
        status,
        summary.num_bytes,
        idle,
        refusal is None and idle >= SPOOL_SECONDS,
        refusal,
        partial(free_spool, summary),
    )


def describe_cache(cache: KeptCache) -> Kept:
    """Describe a data set's resized pictures."""
    return Kept(
        "resized pictures",
        # No run's name begins so.
        f"cached/{cache.folder.name}",
        "made by prepare",
        cache.num_bytes,
        cache.idle_seconds,
        cache.idle_seconds >= CACHE_SECONDS,
        None,
        cache.free,
    )


def free_spool(summary: SpoolSummary) -> int:
    """Remove a delivered spool; 0 where a process took it up meanwhile."""
    try:
        remove_spool(summary.spool)
    except ValueError:
        return 0
    return summary.num_bytes


def choose(kept: list[Kept], names: list[str], *, everything: bool = False) -> list[Kept]:
    """Return what to free.

    Raises:
        ValueError: A name fits nothing, or what must stay.
    """
    if everything:
        return [entry for entry in kept if entry.refusal is None]
    if not names:
        return [entry for entry in kept if entry.is_disposable]
    chosen = []
    for name in names:
        found = [entry for entry in kept if entry.name.startswith(name)]
        if not found:
            known = ", ".join(entry.name for entry in kept) or "none"
            raise ValueError(f"{name}: nothing kept begins so; kept are: {known}")
        for entry in found:
            if entry.refusal is not None:
                raise ValueError(f"{name}: {entry.refusal}")
        chosen += found
    return chosen


def build_table(kept: list[Kept], freed: dict[str, int], *, dry_run: bool) -> Table:
    """Return a row an entry."""
    table = Table("what", Column("name", no_wrap=True), "status", "size", "idle for", "")
    for entry in kept:
        done = "would be freed" if dry_run else "freed" if freed.get(entry.name) else "in use"
        table.add_row(
            entry.what,
            # Of a run key; whole fingerprints.
            entry.name if entry.name.startswith("cached/") else entry.name[:12],
            entry.status,
            format_bytes(entry.num_bytes),
            describe_age(entry.idle_seconds),
            done if entry.name in freed else "kept",
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
    run_command(main)
