from __future__ import annotations

import math

import pytest
import torch

from dcal.losses.objective import Objective
from dcal.training.optimization import (
    build_optimizer,
    build_schedule,
    compute_base_lr,
    compute_lr_ratio,
    group_parameters,
)
from tests.models.factory import make_model
from tests.training.factory import make_loss_config, make_train_config


def make_groups(**changes):
    model = make_model(registers=1)
    loss = make_loss_config()
    objective = Objective(loss, branches=("sa", "glca", "pwca"))
    groups = group_parameters(model, objective, make_train_config(**changes), loss, lr=0.1)
    return model, objective, groups


def test_each_parameter_is_in_exactly_one_group():
    model, objective, groups = make_groups()
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    expected = [id(parameter) for parameter in (*model.parameters(), *objective.parameters())]
    assert len(grouped) == len(set(grouped))
    assert sorted(grouped) == sorted(expected)


def test_biases_norms_tokens_and_positions_are_not_decayed():
    model, _, groups = make_groups(weight_decay=0.05)
    by_name = {group["name"]: group for group in groups}
    undecayed = {id(parameter) for parameter in by_name["undecayed"]["params"]}
    for name, parameter in model.named_parameters():
        is_plain = parameter.ndim <= 1 or name.endswith(("cls_token", "pos_embed", "reg_token"))
        assert (id(parameter) in undecayed) == is_plain, name
    assert by_name["decayed"]["weight_decay"] == 0.05
    assert by_name["undecayed"]["weight_decay"] == 0.0


def test_log_variances_have_their_own_rate_and_no_decay():
    _, objective, groups = make_groups()
    group = groups[-1]
    assert group["name"] == "log_variances"
    assert group["lr"] == make_loss_config().log_variance_lr and group["weight_decay"] == 0.0
    assert {id(p) for p in group["params"]} == {id(p) for p in objective.parameters()}


def test_the_papers_learning_rate_at_its_batch():
    config = make_train_config(lr=5e-4, lr_scaling="deit", batch_size=16, accumulate_steps=1)
    assert compute_base_lr(config) == pytest.approx(1.5625e-5)
    halved = make_train_config(lr=5e-4, lr_scaling="deit", batch_size=8, accumulate_steps=2)
    assert compute_base_lr(halved) == pytest.approx(1.5625e-5)
    assert compute_base_lr(make_train_config(lr=0.008, lr_scaling="none")) == 0.008


def test_the_schedule_warms_up_then_follows_a_cosine_to_its_minimum():
    config = make_train_config(warmup_lr_ratio=0.1, min_lr_ratio=0.02)
    ratios = [compute_lr_ratio(s, config, num_steps=101, warmup_steps=10) for s in range(105)]
    assert ratios[0] == pytest.approx(0.1)
    assert ratios[5] == pytest.approx(0.55)
    assert ratios[10] == pytest.approx(1.0)
    assert ratios[55] == pytest.approx(0.02 + 0.98 * (1 + math.cos(math.pi / 2)) / 2)
    assert ratios[100] == ratios[104] == pytest.approx(0.02)
    assert all(later <= earlier for earlier, later in zip(ratios[10:], ratios[11:], strict=False))


def test_a_constant_schedule_only_warms_up():
    config = make_train_config(schedule="constant", warmup_lr_ratio=0.5)
    assert compute_lr_ratio(0, config, num_steps=10, warmup_steps=2) == 0.5
    assert compute_lr_ratio(9, config, num_steps=10, warmup_steps=2) == 1.0


def test_log_variances_keep_their_rate_while_the_network_is_scheduled():
    _, _, groups = make_groups()
    config = make_train_config(warmup_epochs=1.0, warmup_lr_ratio=0.0)
    optimizer = build_optimizer(groups, config)
    schedule = build_schedule(optimizer, config, num_steps=20, steps_per_epoch=10)
    assert optimizer.param_groups[0]["lr"] == 0.0
    assert optimizer.param_groups[-1]["lr"] == make_loss_config().log_variance_lr
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert optimizer.param_groups[-1]["lr"] == make_loss_config().log_variance_lr


@pytest.mark.parametrize(
    "name, kind",
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_optimisers_by_name(name, kind):
    _, _, groups = make_groups()
    optimizer = build_optimizer(groups, make_train_config(optimizer=name, momentum=0.9))
    assert type(optimizer) is kind
    if name == "sgd":
        assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)
