"""How an exported model compares with the model itself, on pictures (ours)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dcal.data.images import load_image
from dcal.inference.export import ExportedModel, Run
from dcal.inference.recipe import build_transform
from dcal.models.dcal import DCAL
from dcal.training.branches import compute_embeddings, compute_probabilities

TOLERANCE = 1e-4  # of a probability, or of an element of an embedding
MOST_FLIPS = 0.01  # of the patches read: scores that a rounding could exchange
_ROUNDS = 7


class Parity(NamedTuple):
    """What differs; shares are of the pictures, or of the patches that GLCA reads."""

    num_pictures: int
    largest: float  # difference of any probability or element of an embedding
    changed: float | None  # share of pictures with another best class; None for embeddings
    flips: float | None  # share of chosen patches that the other did not choose; None without any
    unexplained: float  # the largest difference of a picture whose patches are the same

    @property
    def is_same(self) -> bool:
        """Say whether nothing differs but roundings, and what a few exchanged patches change."""
        return (self.flips or 0.0) <= MOST_FLIPS and self.unexplained <= TOLERANCE

    def describe(self, what: str) -> str:
        """Return it in a line."""
        told = f"{what}: {self.num_pictures} pictures, largest difference {self.largest:.1e}"
        if self.changed is not None:
            told += f", other class {self.changed:.1%}"
        if self.flips is not None:
            told += f", other patches {self.flips:.2%}"
        return told


class Comparison(NamedTuple):
    """An exported model beside its own graph in torch, and beside the model as it is tested."""

    graph: Parity  # the same pixels, the same resize
    tested: Parity  # Pillow's resize
    exported_seconds: float  # a picture, medians in turn at one size
    model_seconds: float


def read_pixels(paths: Sequence[Path], *, num: int, problems: list[str]) -> list[Tensor]:
    """Return the first `num` pictures that can be read, as the graph takes them.

    Args:
        paths: Their files.
        num: How many.
        problems: Gets a sentence for each one before them that cannot be read.

    Returns:
        (1, 3, H, W) each, 8-bit.
    """
    found: list[Tensor] = []
    for path in paths:
        if len(found) == num:
            break
        try:
            found.append(torch.from_numpy(np.array(load_image(path))).permute(2, 0, 1)[None])
        except OSError as error:
            problems.append(str(error))
    return found


def make_pixels(model: DCAL, *, num: int = 8) -> list[Tensor]:
    """Return smooth drawn pictures of several sizes, where there are none to compare on."""
    generator = np.random.default_rng(0)
    height, width = model.config.image_size
    found = []
    for number in range(num):
        coarse = torch.from_numpy(generator.random((1, 3, 9, 9), dtype=np.float32))
        size = (height + 37 * number, width + 23 * ((3 * number) % num))
        smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
        found.append((smooth.clamp(0, 1) * 255).round().byte())
    return found


@torch.inference_mode()
def compare(exported: ExportedModel, run: Run, pixels: Sequence[Tensor]) -> Comparison:
    """Run both on pictures one by one, and as a batch of two of the first.

    Args:
        exported: What was exported, in torch.
        run: See `open_exported`.
        pixels: See `read_pixels`.
    """
    ours, theirs, tested = [], [], []
    for each in pixels:
        ours.append(exported(each))
        theirs.append(run(each))
        tested.append(_run_tested(exported, each))
    pair = pixels[0].repeat(2, 1, 1, 1)
    ours.append(exported(pair))
    theirs.append(run(pair))
    seconds = _take_turns(lambda: run(pixels[0]), lambda: exported(pixels[0]))
    is_reid = exported.is_reid
    return Comparison(
        _measure(ours, theirs, is_reid=is_reid),
        _measure(tested, theirs[:-1], is_reid=is_reid),
        *seconds,
    )


def _run_tested(exported: ExportedModel, pixels: Tensor) -> tuple[Tensor, ...]:
    from PIL import Image

    picture = Image.fromarray(pixels[0].permute(1, 2, 0).contiguous().numpy())
    model = exported.model
    output = model(build_transform(model)(picture)[None])
    compute = compute_embeddings if exported.is_reid else compute_probabilities
    found = [list(compute(output).values())[-1]]
    return (*found, *([] if output.local_indices is None else [output.local_indices]))


def _measure(
    ours: Sequence[tuple[Tensor, ...]], theirs: Sequence[tuple[Tensor, ...]], *, is_reid: bool
) -> Parity:
    num_changed, num_pictures, num_flips, num_chosen = 0, 0, 0, 0
    differences, explained = [], []
    for own, other in zip(ours, theirs, strict=True):
        # What is no number differs from everything, and no maximum may pass over it.
        distance = (own[0] - other[0]).abs().nan_to_num(nan=float("inf")).amax(dim=1)
        is_exchanged = torch.zeros(len(own[0]), dtype=torch.bool)
        num_pictures += len(own[0])
        if not is_reid:
            num_changed += int((own[0].argmax(dim=1) != other[0].argmax(dim=1)).sum())
        for mine, its in zip(own[1:], other[1:], strict=True):
            is_same = (mine[:, :, None] == its[:, None, :]).any(dim=2)
            num_flips += int((~is_same).sum())
            num_chosen += mine.numel()
            is_exchanged |= (~is_same).any(dim=1)
        differences.append(distance)
        explained.append(is_exchanged)
    found = torch.cat(differences)
    rest = found[~torch.cat(explained)]
    return Parity(
        num_pictures,
        float(found.max()),
        None if is_reid else num_changed / num_pictures,
        num_flips / num_chosen if num_chosen else None,
        float(rest.max()) if len(rest) else 0.0,
    )


def _take_turns(*functions: Callable[[], object]) -> list[float]:
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(_ROUNDS + 1):
        for times, function in zip(seconds, functions, strict=True):
            started = time.perf_counter()
            function()
            times.append(time.perf_counter() - started)
    return [statistics.median(times[1:]) for times in seconds]
