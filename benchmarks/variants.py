"""The models that the benchmarks put side by side, each behind the same two calls.

`plain` is timm's own classifier, what a user would otherwise run. `sa` is ours with both other
branches off, `class` and `class_local` are DCAL by read-out, and `explicit` is the same method
drawn out in full, as the tests hold it against ours.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcal.attention.pairing import draw_pairing
from dcal.losses.uncertainty import UncertaintyWeighting
from dcal.models.build import build_model
from dcal.models.cost import count_forward_macs
from dcal.models.dcal import DCAL, DCALOutput

NUM_CLASSES = 200
BRANCHES = ("sa", "glca", "pwca")
VARIANT_NAMES = ("plain", "sa", "class", "class_local", "explicit")


class Job(NamedTuple):
    """What to measure: backbone, image side, pictures a step."""

    backbone: str
    image_size: tuple[int, int]
    batch_size: int


class Variant(NamedTuple):
    """A model ready to run, and the multiply-accumulates it needs for one image."""

    name: str
    train_step: Callable[[], None]
    infer: Callable[[], None]
    train_macs: int  # three forward passes
    infer_macs: int


def build_variant(name: str, job: Job, *, device: str, autocast: bool = False) -> Variant:
    """Build one variant with random weights and random pictures."""
    torch.manual_seed(0)
    images = torch.randn(job.batch_size, 3, *job.image_size, device=device)
    labels = torch.arange(job.batch_size, device=device) % NUM_CLASSES
    precision = torch.autocast(device, dtype=torch.bfloat16, enabled=autocast)
    model = _build_network(name, job).to(device)
    weighting = UncertaintyWeighting(dict.fromkeys(BRANCHES, 0.0)).to(device)
    parameters = [*model.parameters(), *weighting.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    pairing = draw_pairing(job.batch_size, seed=0, step=0).to(device)
    forward = _choose_forward(name, model)

    def train_step() -> None:
        _switch(model, is_training=True)
        with precision:
            if name in ("plain", "sa"):
                output = model(images)
                logits = output if name == "plain" else output.sa_logits
                loss = F.cross_entropy(logits, labels)
            else:
                output = forward(images, distractor_indices=pairing)
                loss = weighting(_branch_losses(output, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def infer() -> None:
        _switch(model, is_training=False)
        with precision:
            forward(images)

    train_macs, infer_macs = count_macs(name, model, job)
    return Variant(name, train_step, infer, train_macs, infer_macs)


def _switch(model: nn.Module, *, is_training: bool) -> None:
    if model.training != is_training:  # or walking through all modules would be measured, too
        model.train(is_training)


def count_macs(name: str, model: nn.Module, job: Job) -> tuple[int, int]:
    """Return multiply-accumulates per image of a training step and of inference."""
    reference = _build_dcal("class", job) if name == "plain" else model
    assert isinstance(reference, DCAL)
    cost = count_forward_macs(reference)
    if name == "plain":
        tokens = reference.num_patches + reference.num_prefix_tokens
        width = reference.backbone.embed_dim
        block = 12 * tokens * width * width + 2 * tokens * tokens * width
        forward = cost.embedding + reference.num_blocks * block + width * NUM_CLASSES
        return 3 * forward, forward
    forward = cost.embedding + cost.sa + cost.glca + cost.rollout
    # The rollout has no backward pass.
    return 3 * (forward + cost.pwca) - 2 * cost.rollout, forward


def _build_network(name: str, job: Job) -> nn.Module:
    if name == "plain":
        return timm.create_model(job.backbone, img_size=job.image_size, num_classes=NUM_CLASSES)
    return _build_dcal(name, job)


def _build_dcal(name: str, job: Job) -> DCAL:
    branches = 0 if name == "sa" else 1
    config = SimpleNamespace(
        backbone=job.backbone,
        weights="none",
        image_size=job.image_size,
        stride=None,
        drop_path=0.0,
        top_r=0.1,
        patch_selection="rollout",
        readout="class" if name == "sa" else name.replace("explicit", "class"),
        glca_blocks=branches,
        pwca_blocks=12 * branches,
        distractor="any",
        stream="clean",
        neck="none",
        side_information="none",
        side_scale=0.0,
    )
    return build_model(config, NUM_CLASSES)  # type: ignore[arg-type]


def _choose_forward(name: str, model: nn.Module) -> Callable[..., DCALOutput]:
    if name != "explicit":
        return model
    from tests.oracles import ExplicitDCAL

    assert isinstance(model, DCAL)
    return ExplicitDCAL(model)


def _branch_losses(output: DCALOutput, labels: Tensor) -> dict[str, Tensor]:
    return {
        branch: F.cross_entropy(getattr(output, f"{branch}_logits"), labels) for branch in BRANCHES
    }
