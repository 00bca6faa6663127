"""DCAL: Dual Cross-Attention Learning. The public names, loaded when first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcal.config import load_config as load_config
    from dcal.inference.opening import load_model as load_model
    from dcal.models import build_model as build_model

__version__ = "0.1.0"
__all__ = ["__version__", "build_model", "load_config", "load_model"]

# `import dcal` stays free of torch, so that a stage that needs none starts at once.
_HOMES = {
    "build_model": "dcal.models",
    "load_config": "dcal.config",
    "load_model": "dcal.inference.opening",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dcal' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
