"""`dcal export`: a model as one file for ONNX Runtime or torch, compared with itself (ours)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcal.cli.terminal import MODEL_HELP, choose_device, name_left_out, require_parent, speaking

if TYPE_CHECKING:
    from dcal.inference.parity import Comparison

_MAX_COMPARED = 64
_MAX_TOLD = 3  # pictures, where none can be read


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    output: Annotated[
        Path, typer.Option(help="A file ending in .onnx (ONNX) or .pt2 (torch.export).")
    ],
    pictures: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Pictures, folders or patterns to compare on, the first {_MAX_COMPARED}; as "
            "often as you like. Default: eight drawn ones."
        ),
    ] = None,
) -> None:
    """Write MODEL as one graph with its preprocessing inside, for pictures of any size and batch.

    The graph takes 8-bit RGB pixels (batch, 3, height, width) and gives probabilities, or
    embeddings of a Re-ID model, and the patches that GLCA read. It is compared with the model, and
    not written where it differs. Pictures that cannot be read are named, and the status is then 1.

    Example: dcal export runs/train/model.safetensors --output birds.onnx --pictures photos
    """
    with speaking():
        require_parent(output, option="--output")

        from dcal.inference.export import Form, export_model, open_exported
        from dcal.inference.opening import load_model
        from dcal.inference.own_pictures import find_pictures
        from dcal.inference.parity import compare, make_pixels, read_pixels
        from dcal.paths import write_atomically

        suffix = output.suffix.removeprefix(".")
        if suffix not in list(Form):
            raise ValueError(f"{output}: expected a name that ends in .onnx or .pt2")
        choose_device("cpu")
        opened = load_model(model)
        problems: list[str] = []
        paths = find_pictures(pictures, unnamed=problems) if pictures else []
        pixels = read_pixels(paths, num=_MAX_COMPARED, problems=problems)
        if pictures and not pixels:
            raise ValueError(f"--pictures: none can be read: {'; '.join(problems[:_MAX_TOLD])}")
        pixels = pixels or make_pixels(opened)
        with write_atomically(output) as temporary:
            exported = export_model(opened, temporary, Form(suffix))
            found = compare(exported, open_exported(temporary, Form(suffix)), pixels)
            _require_parity(output, found)
            num_bytes = temporary.stat().st_size
        typer.echo(f"{output}: {num_bytes / 2**20:.1f} MiB, {', '.join(exported.outputs)}")
        typer.echo(found.graph.describe("beside the model, resized alike"))
        typer.echo(found.tested.describe("beside the model, resized by Pillow"))
        typer.echo(
            f"one picture, about: {found.exported_seconds * 1e3:.1f} ms, the same graph in torch "
            f"{found.model_seconds * 1e3:.1f} ms"
        )
    if problems:
        name_left_out(problems, num_pictures=len(pixels) + len(problems))
        raise typer.Exit(1)


def _require_parity(output: Path, found: Comparison) -> None:
    if not found.graph.is_same:
        raise RuntimeError(
            f"{output}: not written, because "
            + found.graph.describe("the exported model differs from the model")
        )
