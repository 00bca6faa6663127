"""What processes that train together tell each other; alone, each of these is nothing (ours).

Values for the host (objects, votes) travel by gloo, tensors by the engine of their device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

Value = TypeVar("Value")


def is_distributed() -> bool:
    """Say whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """Return this process's number, from 0; alone it is 0."""
    return dist.get_rank() if is_distributed() else 0


def get_world_size() -> int:
    """Return the number of processes; alone it is 1."""
    return dist.get_world_size() if is_distributed() else 1


def is_first() -> bool:
    """Say whether this is the process that writes."""
    return get_rank() == 0


@torch.compiler.disable
def gather_rows(values: Tensor) -> Tensor:
    """Return the rows (B, ...) of all processes, (processes x B, ...), by rank.

    Gradients flow back to the process that a row is from: the sum of what all processes' losses
    ask of it. Where losses are then averaged over the processes, as DDP does, that is the gradient
    of one process with the whole batch. All give equally many rows.
    """
    return cast(Tensor, _GatherRows.apply(values)) if is_distributed() else values


def take_own_rows(gathered: Tensor) -> Tensor:
    """Return this process's rows of what `gather_rows` gave."""
    return gathered.chunk(get_world_size())[get_rank()]


class _GatherRows(torch.autograd.Function):
    """torch's own is deprecated, and goes rank by rank on the way back under gloo."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return take_own_rows(total)


def average(values: Tensor) -> Tensor:
    """Return the mean over the processes of values that each has, without a gradient."""
    if not is_distributed():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / get_world_size()


def find_largest(value: int) -> int:
    """Return the largest of the numbers that the processes give."""
    if not is_distributed():
        return value
    largest = torch.tensor(value)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def agree(is_so: bool) -> bool:
    """Say in every process whether it is so in any."""
    return bool(find_largest(int(is_so)))


def broadcast(value: Value) -> Value:
    """Return what the first process gives, in every process."""
    if not is_distributed():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather_objects(value: Value) -> list[Value]:
    """Return what all processes give, by rank, in every process."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def gather_to_first(value: Value) -> list[Value] | None:
    """Return what all processes give, by rank, in the first one, and None in the others."""
    if not is_distributed():
        return [value]
    values: list[Any] | None = [None] * get_world_size() if is_first() else None
    dist.gather_object(value, values)
    return values


def deal_back(hands: Sequence[Iterable[Value]]) -> list[Value]:
    """Undo the dealing of a list over processes: the first of each, then the second of each."""
    missing = object()
    rounds = zip_longest(*hands, fillvalue=missing)
    return [cast(Value, value) for each in rounds for value in each if value is not missing]
