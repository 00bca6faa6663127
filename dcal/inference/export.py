"""A trained model as one graph with its preprocessing inside: ONNX or torch.export (ours).

The graph takes 8-bit pixels of any size and batch, resizes as Pillow does, crops, normalises, and
gives probabilities, or embeddings of a Re-ID model, and the patches that GLCA read. Pictures are
decoded outside.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcal.inference.recipe import build_transform
from dcal.inference.resampling import FILTERS, resize_pixels
from dcal.models.dcal import DCAL
from dcal.sentences import to_one_line
from dcal.training.branches import compute_embeddings, compute_probabilities

OPSET = 18
INPUT = "pixels"
AXES = ("batch", "height", "width")
# Sizes that nothing can be mistaken for: a graph that holds one of them would be of that size only.
_TRACED = (2, 3, 97, 83)
Run = Callable[[Tensor], tuple[Tensor, ...]]


class Form(StrEnum):
    """What a model is exported to."""

    ONNX = "onnx"
    TORCH = "pt2"


class ExportedModel(nn.Module):
    """From pictures as they were decoded to probabilities, or embeddings of a Re-ID model.

    Takes (B, 3, H, W) 8-bit RGB of any size, all of one batch of the same; returns what `outputs`
    names, in its order.
    """

    def __init__(self, model: DCAL) -> None:
        super().__init__()
        card = model.card
        transforms = card["config"]["transforms"]
        if transforms["interpolation"] not in FILTERS:
            raise ValueError(
                f"transforms.interpolation: expected {' or '.join(FILTERS)} to export; got "
                f"{transforms['interpolation']}"
            )
        self.model = model
        self.transform_size = build_transform(model).resize
        self.interpolation = transforms["interpolation"]
        self.crops = transforms["test_crop"] == "center"
        self.is_reid = card["config"]["dataset"]["kind"] == "reid"
        for name in ("mean", "std"):
            values = torch.tensor(card["preprocessing"][name])[:, None, None]
            self.register_buffer(name, values, persistent=False)
        self.outputs = ["embeddings"] if self.is_reid else ["probabilities"]
        if model.selects_patches:
            self.outputs.append("local_indices")

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities (B, C) or embeddings (B, D), and what GLCA read (B, R)."""
        images = self.prepare(pixels)
        output = self.model(images)
        compute = compute_embeddings if self.is_reid else compute_probabilities
        found = [list(compute(output).values())[-1]]
        if output.local_indices is not None:
            found.append(output.local_indices)
        return tuple(found)

    def prepare(self, pixels: Tensor) -> Tensor:
        """Resize, crop and normalise as the model was tested: (B, 3, *image_size)."""
        images = resize_pixels(pixels, self.transform_size, interpolation=self.interpolation)
        if self.crops:
            # As torchvision does, which rounds half to even.
            height, width = self.model.config.image_size
            top = round((images.shape[-2] - height) / 2.0)
            left = round((images.shape[-1] - width) / 2.0)
            images = images[..., top : top + height, left : left + width]
        return (images / 255 - self.get_buffer("mean")) / self.get_buffer("std")


def export_model(model: DCAL, path: Path, form: Form) -> ExportedModel:
    """Write a model as a graph, and return what the graph computes, to compare it with.

    Raises:
        RuntimeError: ONNX is asked for and not installed, or the model cannot be exported; the
            message names why.
    """
    exported = ExportedModel(model.cpu()).eval()
    if form is Form.ONNX:
        require_onnx()
    try:
        program = _trace(exported)
        if form is Form.ONNX:
            _save_onnx(program, path, outputs=exported.outputs)
        else:
            torch.export.save(program, path, extra_files={"card.json": json.dumps(model.card)})
    except Exception as error:  # the exporters raise whatever an operation causes
        reason = to_one_line(str(error))
        raise RuntimeError(f"{path}: the model cannot be exported ({reason[:300]})") from error
    return exported


def require_onnx() -> None:
    """Raise a RuntimeError that says what to install."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise RuntimeError(
                f"{name} is not installed, and ONNX needs it: pip install 'dcal[export]'"
            )


def open_exported(path: Path, form: Form, *, threads: int | None = None) -> Run:
    """Return what runs an exported model: from pixels (B, 3, H, W) to its outputs.

    Args:
        path: Of the file.
        form: Of the file.
        threads: Of ONNX Runtime; None = those of torch.
    """
    if form is Form.TORCH:
        module = torch.export.load(path).module()
        return lambda pixels: module(pixels)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: tuple(
        torch.from_numpy(found) for found in session.run(None, {INPUT: pixels.numpy()})
    )


@torch.no_grad()
def _trace(exported: ExportedModel) -> Any:
    batch, height, width = (torch.export.Dim(name) for name in AXES)
    pixels = torch.zeros(_TRACED, dtype=torch.uint8)
    shapes = {INPUT: {0: batch, 2: height, 3: width}}
    return torch.export.export(exported, (pixels,), dynamic_shapes=shapes, strict=False)


def _save_onnx(program: Any, path: Path, *, outputs: list[str]) -> None:
    import onnx

    converted = torch.onnx.export(
        program,
        (),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=outputs,
        custom_translation_table={torch.ops.aten.sort.stable: _sort_stably},
        verbose=False,
    )
    assert converted is not None
    converted.save(str(path))
    graph = onnx.load(str(path))
    _name_axes(graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def _sort_stably(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """Sort by ONNX's TopK, which puts the lower position first among equals."""
    import onnxscript

    op: Any = onnxscript.opset18
    size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]), axis=0)
    return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)


def _name_axes(graph: Any) -> None:
    """Give the free sizes of the input their names, wherever they stand."""
    shape = graph.graph.input[0].type.tensor_type.shape
    names = {shape.dim[axis].dim_param: name for axis, name in zip((0, 2, 3), AXES, strict=True)}
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
