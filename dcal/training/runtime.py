"""Where and in which precision a run happens, decided once and said (ours)."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

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
    """Decide device and precision: `auto` is bf16 on a GPU and fp32 on a CPU."""
    fallbacks = []
    use_gpu = config.devices == "auto" and torch.cuda.is_available()
    if config.devices == "auto" and not use_gpu:
        fallbacks.append("train.devices=auto found no usable GPU: the CPU is used")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if use_gpu else "fp32"
    is_compiled = config.compile
    if is_compiled and not has_compiler(on_gpu=use_gpu):
        is_compiled = False
        fallbacks.append(
            f"train.compile=true needs a {'C' if use_gpu else 'C++'} compiler, and none was found: "
            "the model runs uncompiled"
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


def prepare_runtime(runtime: Runtime) -> None:
    """Set what is global to the process: `prepare_cpu`; fp32 products on a GPU may use TF32."""
    prepare_cpu()
    if runtime.accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
