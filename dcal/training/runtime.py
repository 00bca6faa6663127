"""Where and in which precision a run happens, decided once and said (ours)."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from dcal.config import TrainConfig

LIGHTNING_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Runtime(NamedTuple):
    """The resolved device and precision."""

    accelerator: str  # cpu or cuda
    precision: str  # fp32 or bf16
    device_name: str
    num_threads: int


def resolve_runtime(config: TrainConfig) -> Runtime:
    """Decide device and precision: `auto` is bf16 on a GPU and fp32 on a CPU."""
    use_gpu = config.devices == "auto" and torch.cuda.is_available()
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if use_gpu else "fp32"
    name = torch.cuda.get_device_name() if use_gpu else f"{platform.machine()} CPU"
    return Runtime("cuda" if use_gpu else "cpu", precision, name, torch.get_num_threads())


def prepare_runtime(runtime: Runtime) -> None:
    """Set what is global to the process: denormals are flushed, fp32 products may use TF32."""
    torch.set_flush_denormal(True)  # denormals cost small models much on a CPU
    if runtime.accelerator == "cuda":
        torch.set_float32_matmul_precision("high")
