"""The models that the benchmarks put side by side, each behind the same two calls.

`plain` is timm's own classifier, what a user would otherwise run. `sa` is ours with both other
branches off, `class` and `class_local` are DCAL by read-out, `recomputed` is `class` with gradient
checkpointing, and `explicit` is the same method drawn out in full, as the tests hold it against
ours.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dcal.costs.imagined import StepWork, count_step_work
from dcal.costs.rates import Shape, find_shape
from dcal.losses.uncertainty import UncertaintyWeighting
from dcal.models.build import build_model
from dcal.models.cost import count_forward_macs
from dcal.models.dcal import DCAL, DCALOutput
from dcal.processor import set_malloc

NUM_CLASSES = 200
BRANCHES = ("sa", "glca", "pwca")
VARIANT_NAMES = ("plain", "sa", "class", "class_local", "recomputed", "explicit")
READOUTS = {"class_local": "class_local"}  # of all others: class
COUNTED = ("sa", "class", "class_local", "recomputed")  # whose work the cost model predicts


class Job(NamedTuple):
    """What to measure: backbone, image side, pictures a step, and how."""

    backbone: str
    image_size: tuple[int, int]
    batch_size: int
    precision: str = "fp32"  # or bf16
    is_compiled: bool = False
    keeps_freed: bool = True  # memory, as training does; else malloc's defaults

    def describe(self) -> str:
        """Return the job in a line."""
        height, width = self.image_size
        how = self.precision + (", compiled" if self.is_compiled else "")
        how += "" if self.keeps_freed else ", malloc's defaults"
        return f"{self.backbone}, {height} x {width}, batch {self.batch_size}, {how}"


class Variant(NamedTuple):
    """A model ready to run, and the multiply-accumulates it needs for one image."""

    name: str
    train_step: Callable[[], None]
    infer: Callable[[], None]
    train_macs: int  # three forward passes
    infer_macs: int
    shape: Shape  # of its blocks


def build_variant(name: str, job: Job, *, device: str) -> Variant:
    """Build one variant with random weights and random pictures."""
    torch.manual_seed(0)
    images = torch.randn(job.batch_size, 3, *job.image_size, device=device)
    labels = torch.arange(job.batch_size, device=device) % NUM_CLASSES
    model = build_network(name, job).to(device)
    train_macs, infer_macs = count_macs(name, model, job)
    forward = _choose_forward(name, model)
    if job.is_compiled and name != "explicit":
        model.compile()
    step = _build_step(name, model, forward, images, labels, job)

    backbone: Any = model.backbone if isinstance(model, DCAL) else model

    @torch.inference_mode()
    def infer() -> None:
        _switch(model, is_training=False)
        with _precision(job, device):
            forward(images)

    return Variant(name, step, infer, train_macs, infer_macs, find_shape(backbone, job.batch_size))


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


def count_work(name: str, job: Job, *, device: str) -> StepWork:
    """Count what a variant's step and inference do, as the cost model sees them."""
    train: Any = SimpleNamespace(
        batch_size=job.batch_size,
        gradient_checkpointing=name == "recomputed",
        clip_norm=None,
        optimizer="adamw",
        momentum=0.9,
        ema_decay=None,
    )
    return count_step_work(
        _choose_config(name, job),
        train,
        num_classes=NUM_CLASSES,
        device=device,
        autocast=job.precision == "bf16",
    )


def _build_step(
    name: str,
    model: nn.Module,
    forward: Callable[..., Any],
    images: Tensor,
    labels: Tensor,
    job: Job,
) -> Callable[[], None]:
    device = images.device.type
    weighting = UncertaintyWeighting(dict.fromkeys(BRANCHES, 0.0)).to(device)
    parameters = [*model.parameters(), *weighting.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    pairing = torch.arange(job.batch_size, device=device).roll(1)

    def train_step() -> None:
        _switch(model, is_training=True)
        if job.keeps_freed:
            set_malloc(keeps_freed=name != "recomputed")
        with _precision(job, device):
            if name in ("plain", "sa"):
                output = forward(images)
                logits = output if name == "plain" else output.sa_logits
                loss = F.cross_entropy(logits, labels)
            else:
                output = forward(images, distractor_indices=pairing)
                loss = weighting(_branch_losses(output, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return train_step


def _precision(job: Job, device: str) -> torch.autocast:
    return torch.autocast(device, dtype=torch.bfloat16, enabled=job.precision == "bf16")


def _switch(model: nn.Module, *, is_training: bool) -> None:
    if model.training != is_training:  # or walking through all modules would be measured, too
        model.train(is_training)


def build_network(name: str, job: Job) -> nn.Module:
    """Build a variant's network with random weights."""
    if name == "plain":
        return timm.create_model(job.backbone, img_size=job.image_size, num_classes=NUM_CLASSES)
    model = _build_dcal(name, job)
    model.set_grad_checkpointing(name == "recomputed")
    return model


def _build_dcal(name: str, job: Job) -> DCAL:
    return build_model(_choose_config(name, job), NUM_CLASSES)


def _choose_config(name: str, job: Job) -> Any:
    branches = 0 if name == "sa" else 1
    return SimpleNamespace(
        backbone=job.backbone,
        weights="none",
        image_size=job.image_size,
        stride=None,
        drop_path=0.0,
        top_r=0.1,
        patch_selection="rollout",
        readout=READOUTS.get(name, "class"),
        glca_blocks=branches,
        pwca_blocks=12 * branches,
        distractor="any",
        stream="clean",
        neck="none",
        side_information="none",
        side_scale=0.0,
    )


def _choose_forward(name: str, model: nn.Module) -> Callable[..., Any]:
    if name != "explicit":
        return model
    from tests.oracles import ExplicitDCAL

    assert isinstance(model, DCAL)
    return ExplicitDCAL(model)


def _branch_losses(output: DCALOutput, labels: Tensor) -> dict[str, Tensor]:
    return {
        branch: F.cross_entropy(getattr(output, f"{branch}_logits"), labels) for branch in BRANCHES
    }
