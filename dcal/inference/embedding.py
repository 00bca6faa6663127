"""Embeddings: what pictures are compared by (design.md, Inference; flip test: FastReID).

`sa` is the SA class token, `glca` the GLCA read-out, `both` the two side by side: the features
before the BN neck, divided by their length as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcal.models.dcal import DCAL, DCALOutput
from dcal.training.branches import choose_sides, collect_features

Branch = Literal["sa", "glca", "both"]
BRANCHES: tuple[Branch, ...] = get_args(Branch)


def list_embedding_branches(model: DCAL) -> tuple[Branch, ...]:
    """Return the branches that a model can embed by; the last one stands for the model."""
    return ("sa", "glca", "both") if len(model.glca_blocks) else ("sa",)


def require_branches(model: DCAL, branches: Sequence[Branch]) -> None:
    """Raise a ValueError where the model lacks one of the branches."""
    known = list_embedding_branches(model)
    unknown = [branch for branch in branches if branch not in known]
    if unknown or not branches:
        got = ", ".join(unknown) or "none"
        reason = "" if "glca" in known else ": the model has no GLCA branch (model.glca_blocks 0)"
        raise ValueError(f"branch: expected one of {', '.join(known)}; got {got}{reason}")


def without_glca(model: DCAL) -> DCAL:
    """Return a view of the model, sharing its weights, that computes the SA branch alone.

    It costs what the plain backbone costs, or less: the last block computes one query.
    """
    view = copy.copy(model)
    view._modules = dict(model._modules)  # else the original would lose its branch too
    view.glca_blocks = nn.ModuleList()
    view.glca_norm = view.glca_head = None
    view.selects_patches = False
    return view


@torch.inference_mode()
def iterate_embeddings(
    model: DCAL,
    loader: Iterable[Mapping[str, Any]],
    *,
    branches: Sequence[Branch],
    device: torch.device,
    flip: bool = False,
) -> Iterator[tuple[Tensor, dict[Branch, Tensor]]]:
    """Yield the rows of each batch and their embeddings by branch, float32 on the CPU.

    Args:
        model: In evaluation mode; it is moved to `device`.
        loader: Batches with `image` and `row`, and `camera` and `view` where the model takes side
            information and they are known.
        branches: Those wanted; `sa` alone costs the plain backbone only.
        device: Where to run.
        flip: Take the mean of the features of a picture and of its mirror image.

    Raises:
        ValueError: The model lacks a branch.
    """
    require_branches(model, branches)
    model.to(device)
    network = without_glca(model) if set(branches) == {"sa"} else model
    for batch in loader:
        images = batch["image"].to(device)
        sides = choose_sides(batch, model.config, device=device)
        features = _collect(network(images, **sides), branches)
        if flip:
            mirrored = _collect(network(images.flip(-1), **sides), branches)
            features = {name: (features[name] + mirrored[name]) / 2 for name in features}
        yield (
            batch["row"],
            {name: F.normalize(values, dim=1).cpu() for name, values in features.items()},
        )


def compute_embeddings(
    model: DCAL,
    loader: Iterable[Mapping[str, Any]],
    *,
    branches: Sequence[Branch],
    device: torch.device,
    flip: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Tensor, dict[Branch, Tensor]]:
    """Embed all pictures of a loader; the arguments are those of `iterate_embeddings`.

    `on_batch` is called with the number of pictures after each batch.

    Returns:
        The pictures' rows (N,), and for each branch its embeddings (N, width).
    """
    rows: list[Tensor] = []
    parts: dict[Branch, list[Tensor]] = {branch: [] for branch in branches}
    for batch_rows, embeddings in iterate_embeddings(
        model, loader, branches=branches, device=device, flip=flip
    ):
        rows.append(batch_rows)
        for branch, values in embeddings.items():
            parts[branch].append(values)
        if on_batch is not None:
            on_batch(len(batch_rows))
    return torch.cat(rows), {branch: torch.cat(batches) for branch, batches in parts.items()}


def _collect(output: DCALOutput, branches: Sequence[Branch]) -> dict[Branch, Tensor]:
    features = collect_features(output)
    return {branch: features[branch] for branch in branches}
