"""Means over steps that stay on the device until they are read (ours)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RunningMeans:
    """Weighted means by name; adding never waits for the device, reading does."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, name: str, value: Tensor, *, weight: float = 1.0) -> None:
        """Add a scalar tensor that stands for `weight` samples."""
        term = value.detach().float() * weight
        self._sums[name] = self._sums[name] + term if name in self._sums else term
        self._weights[name] = self._weights.get(name, 0.0) + weight

    def state_dict(self) -> dict[str, dict[str, Tensor] | dict[str, float]]:
        """Return sums and weights as they are, for a checkpoint between two logged points."""
        return {"sums": dict(self._sums), "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._sums, self._weights = dict(state["sums"]), dict(state["weights"])

    def pop(self) -> dict[str, float]:
        """Return all means and start anew; one transfer for all of them."""
        if not self._sums:
            return {}
        names = list(self._sums)
        values = torch.stack([self._sums[name] for name in names]).tolist()
        means = {
            name: value / self._weights[name] for name, value in zip(names, values, strict=True)
        }
        self._sums.clear()
        self._weights.clear()
        return means
