"""Means over steps that stay on the device until they are read (ours)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dcal.collectives import average, broadcast, deal_back, gather_to_first


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
        sums = {name: value.cpu() for name, value in self._sums.items()}
        return {"sums": sums, "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._sums, self._weights = dict(state["sums"]), dict(state["weights"])

    def pop(self) -> dict[str, float]:
        """Return all means and start anew; one transfer for all of them.

        With several processes it is the mean of theirs; all have added equally much.
        """
        if not self._sums:
            return {}
        names = list(self._sums)
        values = average(torch.stack([self._sums[name] for name in names])).tolist()
        means = {
            name: value / self._weights[name] for name, value in zip(names, values, strict=True)
        }
        self._sums.clear()
        self._weights.clear()
        return means


class DealtMeans:
    """Weighted means over batches that are dealt out over the processes, as one would have them.

    Every term is kept until the end, and all are added in the order of the batches: the result is
    that of one process to the last bit, however many batches each process had, none included.
    """

    def __init__(self) -> None:
        self._terms: dict[str, list[tuple[Tensor, float]]] = {}

    def add(self, name: str, value: Tensor, *, weight: float = 1.0) -> None:
        """Add a scalar tensor that stands for `weight` samples."""
        self._terms.setdefault(name, []).append((value.detach().float(), weight))

    def pop(self) -> dict[str, float]:
        """Return all means, in every process, and start anew."""
        mine = {name: _to_host(terms) for name, terms in self._terms.items()}
        self._terms = {}
        hands = gather_to_first(mine)
        return broadcast({} if hands is None else _add_in_order(hands))


def _to_host(terms: list[tuple[Tensor, float]]) -> list[tuple[Tensor, float]]:
    values = torch.stack([value for value, _ in terms]).cpu().unbind()
    return [(value, weight) for value, (_, weight) in zip(values, terms, strict=True)]


def _add_in_order(hands: list[dict[str, list[tuple[Tensor, float]]]]) -> dict[str, float]:
    means: dict[str, float] = {}
    for name in dict.fromkeys(name for hand in hands for name in hand):
        total, weights = torch.zeros(()), 0.0
        for value, weight in deal_back([hand.get(name, []) for hand in hands]):
            total, weights = total + value * weight, weights + weight
        means[name] = float(total) / weights
    return means
