"""`dcal embed`: a folder of pictures becomes a gallery that can be searched (ours)."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcal.cli.terminal import (
    ALLOW_PARTIAL_HELP,
    MODEL_HELP,
    choose_device,
    end_where_left_out,
    require_parent,
    show_progress,
    speaking,
)

if TYPE_CHECKING:
    from dcal.inference.gallery_building import BuildSummary


class BranchName(StrEnum):
    """What pictures are compared by."""

    SA = "sa"
    GLCA = "glca"
    BOTH = "both"


class DeviceName(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CPU = "cpu"


def embed(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    folder: Annotated[
        Path, typer.Argument(help="Your pictures, with folders in it as you like; no labels.")
    ],
    output: Annotated[
        Path, typer.Option(help="The gallery: a folder of its own, made or brought up to date.")
    ],
    branch: Annotated[
        BranchName | None,
        typer.Option(
            help="Compare by the SA branch (cheapest), GLCA, or both side by side. "
            "Default: both, or sa where the model has no GLCA.",
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Embed each picture's mirror image too: twice the time.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures embedded at once.")] = 64,
    allow_partial: Annotated[
        bool,
        typer.Option("--allow-partial", help=ALLOW_PARTIAL_HELP),
    ] = False,
    drop_removed: Annotated[
        bool,
        typer.Option("--drop-removed", help="Forget pictures that are no longer in FOLDER."),
    ] = False,
    moved: Annotated[
        bool, typer.Option("--moved", help="FOLDER is the gallery's own under another name.")
    ] = False,
    device: Annotated[
        DeviceName, typer.Option(help="auto takes a GPU where there is one.")
    ] = DeviceName.AUTO,
) -> None:
    """Embed the pictures of FOLDER by MODEL into a gallery that dcal search searches.

    Run it again after adding pictures, or after an interruption: only new and changed ones are
    embedded. A gallery is of one model; another one, or one with other settings, is refused.
    Pictures that cannot be decoded are named and left out, and the status is then 1; the rest is
    done.

    Example: dcal embed runs/train/model.safetensors photos --output photos.gallery
    """
    with speaking():
        require_parent(output, option="--output")

        from dcal.inference.gallery_building import BuildOptions, embed_folder
        from dcal.inference.opening import find_model

        options = BuildOptions(
            branch=None if branch is None else branch.value,
            flip=flip,
            batch_size=batch_size,
            allow_partial=True,  # the status tells of it
            drop_removed=drop_removed,
            moved=moved,
        )
        started = time.perf_counter()
        with show_progress() as report:
            summary = embed_folder(
                find_model(model), folder, output, options,
                device=choose_device(device), on_progress=report,
            )  # fmt: skip
        _tell(summary, time.perf_counter() - started, is_dropped=drop_removed)
    end_where_left_out(len(summary.left_out), is_allowed=allow_partial)


def _tell(summary: BuildSummary, seconds: float, *, is_dropped: bool) -> None:
    gallery = summary.gallery
    width = gallery.embeddings.shape[1]
    typer.echo(
        f"{gallery.place}: {len(gallery)} pictures by branch {gallery.card.branch}, width {width}: "
        f"{summary.num_embedded} embedded in {seconds:.1f} s, {summary.num_kept} were there"
    )
    if summary.left_out:
        typer.echo(f"left out, because they cannot be decoded: {len(summary.left_out)}")
    if summary.removed:
        shown = ", ".join(summary.removed[:5]) + (", ..." if len(summary.removed) > 5 else "")
        told = "dropped" if is_dropped else "kept; --drop-removed drops them"
        typer.echo(f"no longer in the folder, {told}: {len(summary.removed)} ({shown})")
