"""How fast a machine does each kind of work, measured at a model's own shapes (ours)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn
from torch.nn import functional as F

from dcal.costs.work import Work, WorkRecorder
from dcal.models.backbone import get_grid_size
from dcal.models.blocks import get_attention

MOST_TOKENS = 4096
MOST_ELEMENTS = 2**24  # of the largest tensor of a block
MOST_SECONDS = 1.0  # of a kind of work, after its first run


class Rates(NamedTuple):
    """What a machine does in a second of each kind of work, and what a call takes besides."""

    products: float  # FLOP a second
    attention: float  # FLOP a second
    attention_gradients: float  # FLOP a second
    moved: float  # bytes a second
    call_seconds: float


def take_faster(one: Rates, other: Rates) -> Rates:
    """Return the better of two measurements, kind by kind: what else runs can only slow them."""
    return Rates(
        products=max(one.products, other.products),
        attention=max(one.attention, other.attention),
        attention_gradients=max(one.attention_gradients, other.attention_gradients),
        moved=max(one.moved, other.moved),
        call_seconds=min(one.call_seconds, other.call_seconds),
    )


class Shape(NamedTuple):
    """The shape that a model's blocks work on."""

    batch: int
    tokens: int
    width: int
    heads: int
    hidden: int  # width of the FFN


def find_shape(backbone: VisionTransformer, batch_size: int) -> Shape:
    """Return the shape of a backbone's blocks."""
    rows, columns = get_grid_size(backbone)
    block = cast(Block, backbone.blocks[0])
    return Shape(
        batch_size,
        rows * columns + int(backbone.num_prefix_tokens),
        int(backbone.embed_dim),
        int(get_attention(block).num_heads),
        int(cast(nn.Linear, cast(Mlp, block.mlp).fc1).out_features),
    )


def cap_shape(shape: Shape) -> Shape:
    """Return a shape that takes seconds and little memory: rates hardly change above it."""
    tokens = min(shape.tokens, MOST_TOKENS)
    batch = min(shape.batch, max(1, MOST_ELEMENTS // (tokens * shape.hidden)))
    return shape._replace(batch=batch, tokens=tokens)


def predict_seconds(work: Work, rates: Rates) -> dict[str, float]:
    """Return the seconds of each kind of work; their sum is those of the whole."""
    return {
        "products": work.products / rates.products,
        "attention": work.attention / rates.attention
        + work.attention_gradients / rates.attention_gradients,
        "moved": work.moved / rates.moved,
        "calls": work.calls * rates.call_seconds,
    }


def measure_rates(
    shape: Shape, *, device: str = "cpu", autocast: bool = False, rounds: int = 7
) -> Rates:
    """Time one block's products, its attention and what else it does, each alone.

    Takes some seconds at most, because a large shape is capped; see `cap_shape`.
    """
    shape = cap_shape(shape)
    timing = _Timing(device, autocast, rounds)
    calls = timing.measure(_build_layers(Shape(1, 2, 8, 1, 8), device))
    call_seconds = calls.seconds / calls.work.calls
    products = timing.measure(_build_products(shape, device))
    forward, backward = (timing.measure(f) for f in _build_attention(shape, device))
    layers = timing.measure(_build_layers(shape, device))

    def rate(amount: float, measured: _Measured) -> float:
        # At most the whole time is a call's own: a small shape's rate is then not known, or needed.
        own = measured.seconds - measured.work.calls * call_seconds
        return amount / max(own, 0.1 * measured.seconds)

    return Rates(
        products=rate(products.work.products, products),
        attention=rate(forward.work.attention, forward),
        attention_gradients=backward.work.attention_gradients
        / max(backward.seconds - forward.seconds, 0.1 * backward.seconds),
        moved=rate(layers.work.moved, layers),
        call_seconds=call_seconds,
    )


class _Measured(NamedTuple):
    work: Work
    seconds: float


class _Timing(NamedTuple):
    device: str
    autocast: bool
    rounds: int

    def measure(self, function: Callable[[], object]) -> _Measured:
        def run() -> None:
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
                function()
            if self.device == "cuda":
                torch.cuda.synchronize()

        with WorkRecorder() as recorder:
            run()
        seconds: list[float] = []  # the recorded run was the first, which warms up
        while len(seconds) < self.rounds and sum(seconds) < MOST_SECONDS:
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        return _Measured(recorder.work, statistics.median(seconds))


def _build_products(shape: Shape, device: str) -> Callable[[], object]:
    """Return a block's four linear layers, forward and backward."""
    width, hidden = shape.width, shape.hidden
    sizes = ((width, 3 * width), (width, width), (width, hidden), (hidden, width))
    layers = [nn.Linear(*size, device=device) for size in sizes]
    inputs = {
        size: torch.randn(shape.batch, shape.tokens, size, device=device, requires_grad=True)
        for size in {width, hidden}
    }

    def run() -> None:
        outputs = [layer(inputs[layer.in_features]) for layer in layers]
        # A gradient that is there already, so that nothing but products runs.
        torch.autograd.backward(outputs, [torch.empty_like(output) for output in outputs])
        for tensor in (*inputs.values(), *(p for layer in layers for p in layer.parameters())):
            tensor.grad = None

    return run


def _build_attention(
    shape: Shape, device: str
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return self-attention forward, and forward and backward."""
    size = (shape.batch, shape.tokens, 3, shape.heads, shape.width // shape.heads)
    projected = torch.randn(size, device=device, requires_grad=True)
    gradient = torch.randn(
        shape.batch, shape.heads, shape.tokens, shape.width // shape.heads, device=device
    )

    def attend() -> torch.Tensor:
        queries, keys, values = projected.permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(queries, keys, values)

    def attend_and_return() -> None:
        output = attend()
        output.backward(gradient.to(output.dtype))
        projected.grad = None

    return attend, attend_and_return


def _build_layers(shape: Shape, device: str) -> Callable[[], object]:
    """Return what a block does besides: two norms, the activation, two residuals, both ways."""
    norm = nn.LayerNorm(shape.width, device=device)
    size = (shape.batch, shape.tokens, shape.width)
    tokens = torch.randn(size, device=device, requires_grad=True)
    inner = torch.randn(*size[:2], shape.hidden, device=device, requires_grad=True)

    def run() -> None:
        first = tokens + norm(tokens)
        second = first + norm(first)
        torch.autograd.backward(
            [second, F.gelu(inner)], [torch.empty_like(second), torch.empty_like(inner)]
        )
        for tensor in (tokens, inner, *norm.parameters()):
            tensor.grad = None

    return run
