"""How a command of `dcal` speaks: progress, warnings, and a mistake as one sentence (ours)."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from dcal.mistakes import MISTAKES, is_mistake

if TYPE_CHECKING:
    import torch

MODEL_HELP = (
    "A model file such as runs/train/model.safetensors, the id of an MLflow run, or a registered "
    "model such as models:/birds@champion."
)
PICTURES_HELP = "Pictures, folders of pictures, or patterns such as 'photos/*.jpg'."
ALLOW_PARTIAL_HELP = "Status 0 even where pictures that cannot be decoded were left out."
_MAX_NAMED = 20
_GOES_ON = "nothing half-written is left, and the same command goes on"


class _Terminated(KeyboardInterrupt):
    """SIGTERM came; whoever saves on Ctrl-C saves on it."""


@contextmanager
def speaking() -> Iterator[None]:
    """Show what the library logs, and end with status 1 and one sentence on a user's mistake.

    SIGTERM stops a command as Ctrl-C does, with status 143.
    `DCAL_TRACEBACK=1` shows where it came from.
    """
    # Before torch is imported. Threads of OpenMP that spin while they wait take the processor from
    # those that decode pictures, and from other programs: 90 pictures a second instead of 310.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("dcal")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with _stopping_on_sigterm():
            yield
    except _Terminated:
        _end(f"got SIGTERM; {_GOES_ON}", status=128 + signal.SIGTERM)
    except KeyboardInterrupt:
        _end(f"interrupted; {_GOES_ON}")
    except MISTAKES as error:
        if os.environ.get("DCAL_TRACEBACK") or not is_mistake(error):
            raise
        _end(str(error))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield what to call with (what is being done, done, total); a bar for each, then gone."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    console = Console(stderr=True)
    # Into a file or a pipe it would write empty lines.
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what.capitalize(), total=total)
            progress.update(tasks[what], completed=done)

        yield report


def require_parent(path: Path | None, *, option: str) -> None:
    """Say before any work that the folder which an output would lie in is not there.

    Raises:
        FileNotFoundError: There is no such folder; a mistyped path makes none.
    """
    if path is not None and not os.path.isdir(path.parent):
        raise FileNotFoundError(
            f"{path}: expected the folder {path.parent} to be there, and it is not; make it, or "
            f"correct {option}"
        )


def name_left_out(sentences: list[str], *, num_pictures: int) -> None:
    """Name the pictures that could not be read, where the rest was done."""
    more = [f"and {len(sentences) - _MAX_NAMED} more"] if len(sentences) > _MAX_NAMED else []
    lines = "\n  ".join([*sentences[:_MAX_NAMED], *more])
    typer.echo(
        f"error: {len(sentences)} of {num_pictures} pictures were passed over:\n  {lines}", err=True
    )


def end_where_left_out(num: int, *, is_allowed: bool) -> None:
    """End with status 1 where pictures were left out, which a warning has named, unless allowed."""
    if num and not is_allowed:
        typer.echo(
            f"error: pictures left out, named above: {num}; the rest is done (--allow-partial "
            "takes that for success)",
            err=True,
        )
        raise typer.Exit(1)


def choose_device(name: str) -> torch.device:
    """Return the device that `auto` or `cpu` means here, and set what is global to a process."""
    import torch

    from dcal.processor import prepare_cpu

    prepare_cpu()
    use_gpu = name == "auto" and torch.cuda.is_available()
    return torch.device("cuda" if use_gpu else "cpu")


@contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        # `timeout` sends it twice: the second one must not cut short what the first one saves.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    handler = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _end(sentence: str, *, status: int = 1) -> None:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(status)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return prefix + record.getMessage()
