"""The kernel of attention is the one that attention itself would take."""

from __future__ import annotations

import pytest
import torch

from dcal.models import build_model
from dcal.training import runtime as runtimes
from dcal.training.fit import Outlets, fit
from dcal.training.runtime import name_kernel, resolve_runtime
from tests.models.factory import make_model
from tests.training.factory import make_loaders, make_run_config, make_train_config


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_attention_is_fused_until_it_drops_weights_out(precision):
    runtime = resolve_runtime(make_train_config(devices="cpu", precision=precision))
    model = make_model()
    assert name_kernel(model, runtime) == "flash"
    model.backbone.blocks[0].attn.attn_drop.p = 0.1
    assert name_kernel(model, runtime) == "math"


@pytest.mark.parametrize("choice, expected", [("auto", False), (False, False), (True, True)])
def test_a_cpu_compiles_only_where_it_is_told_to(monkeypatch, choice, expected):
    monkeypatch.setattr(runtimes, "has_compiler", lambda *, on_gpu: not on_gpu)
    runtime = resolve_runtime(make_train_config(devices="cpu", compile=choice))
    assert runtime.is_compiled is expected and not runtime.fallbacks


@pytest.mark.parametrize("choice, expected", [("auto", True), (True, True), (False, False)])
def test_a_gpu_compiles_unless_it_is_told_not_to(monkeypatch, choice, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(runtimes, "has_compiler", lambda *, on_gpu: on_gpu)
    runtime = resolve_runtime(make_train_config(devices="auto", compile=choice, precision="auto"))
    assert (runtime.accelerator, runtime.precision) == ("cuda", "bf16")
    assert runtime.is_compiled is expected and not runtime.fallbacks


def test_without_a_compiler_a_run_that_would_compile_says_that_it_does_not(monkeypatch):
    monkeypatch.setattr(runtimes, "has_compiler", lambda *, on_gpu: False)
    runtime = resolve_runtime(make_train_config(devices="cpu", compile=True))
    assert not runtime.is_compiled and "train.compile=true needs a C++" in runtime.fallbacks[0]


@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_a_run_spares_memory_where_it_checkpoints_gradients(tmp_path, monkeypatch, is_checkpointed):
    choices = []
    monkeypatch.setattr(runtimes, "prepare_cpu", lambda **choice: choices.append(choice))
    config = make_run_config(epochs=1, gradient_checkpointing=is_checkpointed, selection="last")
    fit(
        build_model(config.model, 3),
        config,
        make_loaders(config, num_train=6, num_val=0),
        runtime=resolve_runtime(config.train),
        outlets=Outlets(tmp_path / "history.csv", lambda values, step: None),
    )
    assert [choice["spares_memory"] for choice in choices] == [is_checkpointed]
