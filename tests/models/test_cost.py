"""The arithmetic that the cost model counts is the arithmetic that the model does."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dcal.models.cost import count_forward_macs, estimate_training_bytes
from tests.models.factory import make_images, make_model


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


def test_more_pictures_more_blocks_and_wider_numbers_need_more_memory():
    full, alone = make_model(), make_model(pwca_blocks=0, glca_blocks=0)
    assert estimate_training_bytes(full, 8) > estimate_training_bytes(alone, 8)
    assert estimate_training_bytes(full, 16) > estimate_training_bytes(full, 8)
    assert estimate_training_bytes(full, 8, bytes_per_value=2) < estimate_training_bytes(full, 8)
