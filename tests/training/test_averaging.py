"""The moving average of the weights is torch's, to the last bit."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dcal.training.averaging import MovingAverage


def move(model):
    """Change parameters and buffers, as a step does."""
    model(torch.randn(4, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def assert_same_state(ours, theirs):
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_it_is_torchs_average_and_goes_on_from_a_state():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7))
    ours = MovingAverage(model, decay=0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(3):
        move(model)
        ours.update_parameters(model)
        theirs.update_parameters(model)
        assert_same_state(ours, theirs)
    resumed = MovingAverage(model, decay=0.9)
    resumed.load_state_dict(theirs.state_dict())
    for _ in range(2):
        move(model)
        resumed.update_parameters(model)
        theirs.update_parameters(model)
        assert_same_state(resumed, theirs)
    assert not any(parameter.requires_grad for parameter in resumed.parameters())
