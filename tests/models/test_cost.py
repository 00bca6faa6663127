"""The arithmetic that the cost model counts is the arithmetic that the model does."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dcal.models import build_model
from dcal.models.cost import (
    count_activation_values,
    count_forward_macs,
    estimate_training_bytes,
)
from tests.models.factory import make_config, make_images, make_model
from tests.training.factory import make_train_config


def count_macs(function) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("pwca_blocks", [0, 1, 3, 4])
@pytest.mark.parametrize("readout", ["class", "class_local", "local"])
@pytest.mark.parametrize("glca_blocks", [0, 2])
def test_counted_macs_are_those_of_the_forward_pass(readout, glca_blocks, pwca_blocks):
    model = make_model(readout=readout, glca_blocks=glca_blocks, pwca_blocks=pwca_blocks)
    pairing = {"distractor_indices": torch.tensor([0])} if pwca_blocks else {}
    images = make_images(1)
    cost = count_forward_macs(model)
    # Einsum's row of the rollout and the bmm of a row vector are counted like any product.
    assert sum(cost) == count_macs(lambda: model(images, **pairing))


def test_branches_that_are_off_cost_nothing():
    cost = count_forward_macs(make_model(glca_blocks=0, pwca_blocks=0))
    assert cost.glca == cost.pwca == cost.rollout == 0
    assert count_forward_macs(make_model(readout="class")).rollout == 0


def measure_kept_values(model, images, **distractors) -> int:
    """Sum what autograd keeps, each storage once, without the parameters."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        holders.append(tensor)  # or a freed address could be counted as another's
        return tensor

    holders: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(images, **distractors)
    del output
    return sum(kept.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"glca_blocks": 0, "pwca_blocks": 0},
        {"glca_blocks": 1, "pwca_blocks": 12, "readout": "class"},
        {"glca_blocks": 0, "pwca_blocks": 6},
    ],
)
def test_estimated_activations_are_near_those_that_autograd_keeps(changes):
    config = make_config(backbone="deit_tiny_patch16_224", image_size=(128, 128), **changes)
    model = build_model(config, 10).train()
    images = torch.randn(2, 3, 128, 128)
    pairing = {"distractor_indices": torch.tensor([1, 0])} if config.pwca_blocks else {}
    kept = measure_kept_values(model, images, **pairing)
    estimated = 2 * count_activation_values(model, checkpointing=False)
    assert 0.75 < estimated / kept < 1.25


def test_the_estimate_knows_optimiser_average_and_checkpointing():
    model = make_model()

    def estimate(**changes):
        return estimate_training_bytes(model, make_train_config(**changes))

    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert estimate() - estimate(optimizer="sgd") == weights
    assert estimate(ema_decay=0.9) - estimate() == weights
    assert estimate(gradient_checkpointing=True) < estimate()
    assert estimate(batch_size=12) > estimate(batch_size=6)
