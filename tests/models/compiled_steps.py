"""Training steps compiled and eager, in a process of its own; prints what came out as JSON.

Under pytest, jaxtyping decorates dcal.attention, and the compiler cannot trace what it puts there.
"""

from __future__ import annotations

import copy
import json
import sys
from typing import NamedTuple

import torch
from torch._dynamo.utils import counters

from tests.models.factory import make_images, make_model

BRANCHES = ("sa", "glca", "pwca")
PAIRINGS = ([2, 0, 1], [1, 2, 0])


class Case(NamedTuple):
    """One way to train."""

    readout: str = "class_local"
    stream: str = "clean"
    distractors: str = "batch"
    checkpointing: bool = False
    patch_selection: str = "rollout"
    autocast: bool = False
    depth: int = 2


# Every pair of a read-out, a stream, a kind of distractors and checkpointing is in one of them.
CASES = {
    "class, clean, batch": Case("class"),
    "class, mutual, outside, checkpointing": Case("class", "mutual", "outside", True),
    "local, clean, outside, checkpointing": Case("local", "clean", "outside", True),
    "local, mutual, batch, random patches": Case("local", "mutual", patch_selection="random"),
    # Three blocks: with one in the middle of PWCA, and with a rollout of more than its top row.
    "class_local, clean, batch, checkpointing": Case(checkpointing=True, depth=3),
    "class_local, mutual, outside, bf16": Case(
        "class_local", "mutual", "outside", autocast=True, depth=3
    ),
}


def compare(case: Case, backend: str) -> dict[str, object]:
    """Take two steps, with other pictures and another pairing, compiled and eager."""
    start_counting()
    eager = make_model(
        readout=case.readout,
        stream=case.stream,
        patch_selection=case.patch_selection,
        depth=case.depth,
        pwca_blocks=case.depth if case.distractors == "batch" else case.depth - 1,
    )
    if case.autocast:
        eager.float()  # autocast leaves float64 alone
    eager.set_grad_checkpointing(case.checkpointing)
    compiled = copy.deepcopy(eager)
    compiled.compile(backend=backend)  # as `fit` does
    differences: dict[str, float] = {"outputs": 0.0, "loss": 0.0, "gradients": 0.0, "patches": 0.0}
    backward = ""
    for step, pairing in enumerate(PAIRINGS):
        images = make_images(seed=step).to(eager.backbone.cls_token)
        distractors = {"distractor_indices": torch.tensor(pairing)}
        if case.distractors == "outside":
            distractors = {"distractor_images": make_images(seed=9 + step).to(images)}
        (output, loss), (expected, expected_loss) = (
            take_step(model, images, distractors, case.autocast) for model in (compiled, eager)
        )
        backward = output.sa_logits.grad_fn.name()
        pairs = {
            "loss": [(loss, expected_loss)],
            "outputs": [
                (getattr(output, f"{branch}_{kind}"), getattr(expected, f"{branch}_{kind}"))
                for branch in BRANCHES
                for kind in ("logits", "features")
            ],
            "gradients": list_gradients(compiled, eager),
        }
        if expected.local_indices is not None:
            pairs["patches"] = [(output.local_indices, expected.local_indices)]
        for name, tensors in pairs.items():
            differences[name] = max([differences[name], *(differ(*pair) for pair in tensors)])
    return {
        **count(),
        "backward": backward,
        "precision": str(output.sa_logits.dtype).removeprefix("torch."),
        "differences": differences,
    }


def take_step(model, images, distractors, autocast):
    model.zero_grad()
    torch.manual_seed(0)  # of the random patches
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = model(images, **distractors)
    loss = sum(getattr(output, f"{branch}_logits").square().mean() for branch in BRANCHES)
    loss.backward()
    return output, loss


def list_gradients(compiled, eager):
    pairs = []
    for ours, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if theirs.grad is not None:
            pairs.append((ours.grad, theirs.grad))
    assert pairs
    return pairs


def differ(ours, theirs) -> float:
    """Return the largest difference, as a share of the largest value."""
    assert ours.isfinite().all()  # Python's max passes over what is no number
    scale = max(1.0, float(theirs.detach().abs().max()))
    return float((ours.detach() - theirs.detach()).abs().max()) / scale


def start_counting() -> None:
    torch._dynamo.reset()
    counters.clear()


def count() -> dict[str, int]:
    return {
        "breaks": sum(counters["graph_break"].values()),
        "graphs": counters["stats"]["unique_graphs"],
    }


def read_a_value(images):
    return images * images.sum().item()


def compile_what_breaks(backend: str) -> dict[str, int]:
    """Compile what reads a value in its middle."""
    start_counting()
    torch.compile(read_a_value, backend=backend)(torch.ones(3, 4))
    return count()


def compile_two_shapes(backend: str) -> dict[str, int]:
    """Compile one function for batches of two sizes."""
    start_counting()
    function = torch.compile(torch.sin, backend=backend)
    function(torch.ones(3, 4))
    function(torch.ones(5, 4))
    return count()


def main(backend: str, names: list[str]) -> None:
    report = {name: compare(CASES[name], backend) for name in names or CASES}
    report["a read"] = compile_what_breaks(backend)
    report["two shapes"] = compile_two_shapes(backend)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
