"""A model and a step of it on tensors that have shapes and no contents (ours)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn import functional as F

from dcal.attention.rollout import tiling_by
from dcal.costs.rates import Shape, find_shape
from dcal.costs.work import Work, WorkRecorder
from dcal.models.backbone import create_backbone
from dcal.models.build import count_parameters
from dcal.models.dcal import DCAL
from dcal.training.optimization import build_optimizer

if TYPE_CHECKING:
    from dcal.config import ModelConfig, TrainConfig

LARGEST_TILE = 2**30
SIDES = 8  # cameras and views of a model with side information: their number costs nothing
_FROM_LOADER = ("same", "mixed", "noise")  # kinds of distractors that a batch may not hold


class StepWork(NamedTuple):
    """What one training step and one inference pass do, and the model that does it."""

    training: Work
    inference: Work
    shape: Shape  # of its blocks
    num_parameters: int


def count_step_work(
    model: ModelConfig,
    train: TrainConfig,
    *,
    num_classes: int,
    device: str = "cpu",
    autocast: bool = False,
) -> StepWork:
    """Count the work of a training step and of an inference pass, both of `train.batch_size`.

    The losses are plain cross-entropies: what another objective adds is not seen. Weights are
    neither read nor made, so the largest backbone takes a second and no memory.

    Raises:
        ValueError: A model that cannot be built.
    """
    with (
        # Thousands of tiles would be walked through one by one.
        tiling_by(LARGEST_TILE),
        FakeTensorMode(),
    ):
        network = imagine_model(model, num_classes, device=device)
        network.set_grad_checkpointing(train.gradient_checkpointing)
        step = _Step(network, train, device=device, autocast=autocast)
        step()  # the first one makes gradients and the optimiser's moments
        with WorkRecorder(step.list_held()) as recorder:
            step()
        training = recorder.work
        network.eval()
        images = torch.empty(train.batch_size, 3, *model.image_size, device=device)
        # Not inference_mode, under which torch dispatches whole layers as one operation.
        with torch.no_grad(), _precision(device, autocast), WorkRecorder() as recorder:
            network(images)
        shape = find_shape(network.backbone, train.batch_size)
    return StepWork(training, recorder.work, shape, count_parameters(network))


def imagine_model(config: ModelConfig, num_classes: int, *, device: str) -> DCAL:
    """Return the model that `build_model` would build, its weights imagined; in a fake mode."""
    with unset_fake_temporarily(), torch.device("meta"):
        backbone = create_backbone(
            config.backbone,
            image_size=config.image_size,
            stride=config.stride,
            drop_path=config.drop_path,
        )
        model = DCAL(backbone, config, num_classes=num_classes, num_cameras=SIDES, num_views=SIDES)
    for module in model.modules():
        _imagine_tensors(module, device)
    return model


def _imagine_tensors(module: nn.Module, device: str) -> None:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
            module._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)


class _Step:
    """One training step after another."""

    def __init__(self, network: DCAL, train: TrainConfig, *, device: str, autocast: bool) -> None:
        self.network = network.train()
        self.device, self.autocast = device, autocast
        self.images = torch.empty(train.batch_size, 3, *network.config.image_size, device=device)
        self.labels = torch.zeros(train.batch_size, dtype=torch.int64, device=device)
        self.distractors = self._list_distractors()
        self.clip_norm = train.clip_norm
        self.parameters: list[Tensor] = list(network.parameters())
        groups = [{"params": self.parameters, "lr": 1e-3, "weight_decay": 0.1}]
        self.optimizer = build_optimizer(groups, train)
        self.average = [torch.empty_like(p) for p in self.parameters] if train.ema_decay else []

    def list_held(self) -> list[Tensor]:
        """Return what is there between two steps."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        moments = [value for value in states if isinstance(value, Tensor)]
        return [*self.parameters, *gradients, *moments, *self.average, self.images, self.labels]

    def _list_distractors(self) -> dict[str, Tensor]:
        config = self.network.config
        if not config.pwca_blocks:
            return {}
        if config.distractor in _FROM_LOADER:
            return {"distractor_images": torch.empty_like(self.images)}
        return {"distractor_indices": torch.empty_like(self.labels)}

    def __call__(self) -> None:
        with _precision(self.device, self.autocast):
            output = self.network(self.images, **self.distractors)
            logits = (output.sa_logits, output.glca_logits, output.pwca_logits)
            losses = [F.cross_entropy(part, self.labels) for part in logits if part is not None]
        self.optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        if self.average:
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.parameters, 0.1)


def _precision(device: str, autocast: bool) -> torch.autocast:
    return torch.autocast(device, dtype=torch.bfloat16, enabled=autocast)
