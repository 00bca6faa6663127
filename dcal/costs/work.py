"""The work of a call, counted operation by operation as torch dispatches them (ours).

On imagined tensors (`dcal.costs.imagined`) nothing is computed, so a step of any size is counted
in about a second, and its peak memory is that of its tensors to the byte.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_FUSED_ATTENTION = "_scaled_dot_product_"
# Neither computes nor moves anything.
_FREE = {"_unsafe_view", "detach", "device", "empty", "empty_like", "empty_strided", "new_empty"}


class Work(NamedTuple):
    """What a call does: floating-point operations, bytes, calls; two a multiply-accumulate."""

    products: float  # FLOP of matrix products and convolutions
    attention: float  # FLOP of fused attention, forward
    attention_gradients: float  # FLOP of its backward pass
    moved: float  # bytes read and written by all that is neither
    calls: int  # operations
    peak_bytes: int  # of all tensors that the call has touched or that were held, at once


class WorkRecorder(TorchDispatchMode):
    """While active, count what is dispatched; `work` is the sum so far.

    Args:
        held: Tensors that are there from the start and count towards the peak, used or not.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._products = self._attention = self._gradients = self._moved = 0.0
        self._calls = 0
        self._held: dict[int, int] = {}  # storage -> bytes
        self._live = self._peak = 0
        self._hold(held)

    @property
    def work(self) -> Work:
        """Return the work so far."""
        return Work(
            self._products,
            self._attention,
            self._gradients,
            self._moved,
            self._calls,
            self._peak,
        )

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        inputs = _list_tensors((args, kwargs))
        self._hold(inputs)
        outputs = func(*args, **kwargs)
        written = _list_tensors(outputs)
        self._hold(written)
        packet = func._overloadpacket
        name = packet.__name__
        if func.is_view or name in _FREE:
            return outputs
        self._calls += 1
        if name.startswith(_FUSED_ATTENTION):
            self._note_attention(name, args)
        elif packet in flop_registry:
            self._products += flop_registry[packet](*args, **kwargs, out_val=outputs)
        else:
            self._moved += sum(_count_bytes(tensor) for tensor in inputs + written)
        return outputs

    def _note_attention(self, name: str, args: tuple[Any, ...]) -> None:
        is_backward = "backward" in name
        # The gradient of the output comes first in a backward pass.
        queries, keys = args[1:3] if is_backward else args[:2]
        batch, heads, rows, width = queries.shape
        product = 2 * batch * heads * rows * keys.shape[2] * width
        if is_backward:
            self._gradients += 5 * product  # one again, and four gradients
        else:
            self._attention += 2 * product

    def _hold(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._held:
                continue
            self._held[key] = storage.nbytes()
            self._live += storage.nbytes()
            self._peak = max(self._peak, self._live)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._live -= self._held.pop(key, 0)


def _list_tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _count_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
