"""Where and in which precision a run happens, decided once and said (ours)."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from timm.models.vision_transformer import Block
from torch.nn.attention import SDPBackend

from dcal.models.blocks import get_attention
from dcal.models.dcal import DCAL
from dcal.processor import prepare_cpu

if TYPE_CHECKING:
    from dcal.config import TrainConfig

LIGHTNING_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Runtime(NamedTuple):
    """The resolved device and precision."""

    accelerator: str  # cpu or cuda
    precision: str  # fp32 or bf16
    device_name: str
    num_threads: int
    is_compiled: bool
    fallbacks: tuple[str, ...]  # a sentence for each wish that this machine cannot meet


def resolve_runtime(config: TrainConfig) -> Runtime:
    """Decide device, precision and whether to compile.

    `auto` is bf16 and compiled on a GPU, fp32 and not compiled on a CPU: there a compiled step was
    4 to 6 % faster after 45 to 70 s of compiling (`python -m benchmarks.step --compiled`), which
    pays after a thousand steps.
    """
    fallbacks = []
    use_gpu = config.devices == "auto" and torch.cuda.is_available()
    if config.devices == "auto" and not use_gpu:
        fallbacks.append("train.devices=auto found no usable GPU: the CPU is used")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if use_gpu else "fp32"
    is_compiled = use_gpu if config.compile == "auto" else config.compile
    if is_compiled and not has_compiler(on_gpu=use_gpu):
        is_compiled = False
        fallbacks.append(
            f"train.compile={str(config.compile).lower()} needs a {'C' if use_gpu else 'C++'} "
            "compiler, and none was found: the model runs uncompiled"
        )
    name = torch.cuda.get_device_name() if use_gpu else f"{platform.machine()} CPU"
    return Runtime(
        "cuda" if use_gpu else "cpu",
        precision,
        name,
        torch.get_num_threads(),
        is_compiled,
        tuple(fallbacks),
    )


def has_compiler(*, on_gpu: bool) -> bool:
    """Say whether torch.compile finds the compiler that it calls: C for a GPU, C++ for a CPU."""
    names = (
        [os.environ.get("CC"), "gcc", "clang", "cc"]
        if on_gpu
        else [os.environ.get("CXX"), "g++", "clang++"]
    )
    return any(name and shutil.which(name) for name in names)


def name_kernel(model: DCAL, runtime: Runtime) -> str:
    """Name the kernel that self-attention runs with: flash, cudnn, efficient; or math.

    `math` writes whole attention matrices: many times the memory, and slower.
    """
    attention = get_attention(cast(Block, model.backbone.blocks[0]))
    tokens = model.num_patches + model.num_prefix_tokens
    dtype = torch.bfloat16 if runtime.precision == "bf16" else torch.float32
    heads = torch.empty(
        1, attention.num_heads, tokens, attention.head_dim, dtype=dtype, device=runtime.accelerator
    )
    dropout = attention.attn_drop.p
    # What scaled_dot_product_attention itself asks; there is no public way to.
    choice = torch._fused_sdp_choice(heads, heads, heads, dropout_p=dropout)
    return SDPBackend(choice).name.lower().removesuffix("_attention")


def prepare_runtime(runtime: Runtime, *, spares_memory: bool = False) -> None:
    """Set what is global to the process: `prepare_cpu`; fp32 products on a GPU may use TF32."""
    prepare_cpu(spares_memory=spares_memory)
    if runtime.accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
