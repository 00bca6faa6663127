"""The kernel of attention is the one that attention itself would take."""

from __future__ import annotations

import pytest

from dcal.training.runtime import name_kernel, resolve_runtime
from tests.models.factory import make_model
from tests.training.factory import make_train_config


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_attention_is_fused_until_it_drops_weights_out(precision):
    runtime = resolve_runtime(make_train_config(devices="cpu", precision=precision))
    model = make_model()
    assert name_kernel(model, runtime) == "flash"
    model.backbone.blocks[0].attn.attn_drop.p = 0.1
    assert name_kernel(model, runtime) == "math"


@pytest.mark.parametrize("choice, expected", [("auto", False), (False, False)])
def test_a_cpu_compiles_only_where_it_is_told_to(choice, expected):
    runtime = resolve_runtime(make_train_config(devices="cpu", compile=choice))
    assert runtime.is_compiled is expected and not runtime.fallbacks
