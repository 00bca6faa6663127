"""What the forms of attention rollout cost, which all give the same class row.

    python -m benchmarks.rollout [--rounds 9] [--output results/benchmarks/rollout.json]

tiles         ours on a CPU: attention in tiles that fit in the cache
heads         ours on a GPU and under a compiler: one head of all images at a time
log_sum_exp   a fused attention's own log-sum-exp with queries and keys exchanged, where the
              log-sum-exp of the block's own attention is at hand (`lse given`) or not
product       the matrices multiplied out, all heads of all blocks kept

Ten blocks are walked down, as where one GLCA block stands beside the last of twelve and the top
block's row is one query's. `x floor` is over the multiply-accumulates of one Q K^T a block at the
rate of a large matrix product. Differences are to float64, in shares of the largest entry.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import describe_machine, measure_matrix_rate, prepare, take_turns
from dcal.attention import rollout
from dcal.paths import write_json

NUM_BLOCKS = 10
# Images, heads, tokens, width of a head: DeiT-Tiny at 224 and 448, ViT-Base at 256 x 128, 896.
SHAPES = {
    "cpu": ((8, 3, 197, 64), (4, 3, 785, 64), (1, 3, 785, 64), (4, 12, 129, 64), (1, 3, 3137, 64)),
    "cuda": ((64, 3, 197, 64), (64, 12, 129, 64), (64, 12, 785, 64), (4, 12, 3137, 64)),
}
MAX_PRODUCT_BYTES = 2**29  # of all matrices; beyond, `product` is left out

Blocks = list[tuple[Tensor, Tensor]]


class Drawn(NamedTuple):
    """Queries and keys of each block, and the log-sum-exp of each row of its attention."""

    blocks: Blocks
    log_sum_exps: list[Tensor]
    scale: float


def main() -> None:
    """Measure, print a table, write JSON."""
    arguments = _parse_arguments()
    device = prepare(arguments.threads)
    rate = measure_matrix_rate(device, torch.float32)
    record: dict[str, Any] = {"machine": describe_machine(device, arguments.threads), "rows": []}
    print(
        f"{'images, heads, tokens':24}{'form':22}{'ms':>9} {'x ours':>7} {'off':>8} {'x floor':>8}"
    )
    for shape in SHAPES[device]:
        rows = measure_shape(shape, device, rounds=arguments.rounds, rate=rate)
        record["rows"] += rows
        print("\n".join(map(_format_row, rows)), flush=True)
    write_json(arguments.output, record)


def measure_shape(
    shape: tuple[int, int, int, int], device: str, *, rounds: int, rate: float
) -> list[dict[str, Any]]:
    """Return a row a form; ours is the first."""
    drawn = draw(shape, device)
    forms = list_forms(drawn, device)
    with torch.no_grad():
        expected = walk_exactly(drawn)
        errors = [
            float((form().double() - expected).abs().max() / expected.max())
            for form in forms.values()
        ]
        seconds = take_turns(list(forms.values()), device, rounds)
    batch, heads, tokens, width = shape
    least = NUM_BLOCKS * batch * heads * tokens**2 * width / rate
    return [
        {
            "shape": list(shape),
            "form": name,
            "seconds": statistics.median(times),
            "ratio": statistics.median(a / b for a, b in zip(times, seconds[0], strict=True)),
            "difference": error,
            "over_floor": statistics.median(times) / least,
        }
        for name, times, error in zip(forms, seconds, errors, strict=True)
    ]


def draw(shape: tuple[int, int, int, int], device: str) -> Drawn:
    """Draw queries and keys as a joint projection lays them out."""
    batch, heads, tokens, width = shape
    generator = torch.Generator().manual_seed(0)
    scale = width**-0.5
    blocks, log_sum_exps = [], []
    for _ in range(NUM_BLOCKS):
        joint = torch.randn(batch, tokens, 3, heads, width, generator=generator).to(device)
        queries, keys, values = joint.permute(2, 0, 3, 1, 4).unbind(0)
        blocks.append((queries, keys))
        log_sum_exps.append(attend(queries, keys, values, None, scale))
    return Drawn(blocks, log_sum_exps, scale)


def list_forms(drawn: Drawn, device: str) -> dict[str, Callable[[], Tensor]]:
    """Return the forms by name; the one that the model takes on this device comes first."""
    tiles, heads = rollout._push_row_in_tiles, rollout._push_row_by_head
    steps = {"tiles": tiles, "heads": heads} if device == "cpu" else {"heads": heads}
    forms: dict[str, Callable[[], Tensor]] = {
        name: partial(walk, drawn, step) for name, step in steps.items()
    }
    forms["log_sum_exp, lse given"] = partial(walk_by_log_sum_exp, drawn, is_given=True)
    forms["log_sum_exp"] = partial(walk_by_log_sum_exp, drawn, is_given=False)
    queries, _ = drawn.blocks[0]
    batch, num_heads, tokens, _ = queries.shape
    if 4 * NUM_BLOCKS * batch * num_heads * tokens**2 <= MAX_PRODUCT_BYTES:
        forms["product"] = partial(multiply_out, drawn)
    return forms


def start_row(drawn: Drawn) -> Tensor:
    """Return a uniform row, as a row some blocks down nearly is."""
    queries, _ = drawn.blocks[0]
    batch, _, tokens, _ = queries.shape
    return torch.full((batch, tokens), 1 / tokens, device=queries.device)


def walk(drawn: Drawn, step: Callable[..., Tensor]) -> Tensor:
    """Walk down by a step of `dcal.attention.rollout`."""
    row = start_row(drawn)
    for queries, keys in reversed(drawn.blocks):
        row = (row + step(row, queries, keys, drawn.scale)) / 2
    return row


def walk_by_log_sum_exp(drawn: Drawn, *, is_given: bool) -> Tensor:
    """Walk down by r'_j = mean_h exp(logsumexp_i(q_i . k_j - lse_i + log r_i))."""
    row = start_row(drawn)
    for (queries, keys), given in zip(
        reversed(drawn.blocks), reversed(drawn.log_sum_exps), strict=True
    ):
        own = given if is_given else attend(queries, keys, keys, None, drawn.scale)
        bias = (row.log()[:, None] - own)[:, :, None]  # (B, h, 1, N)
        stepped = attend(keys, queries, queries, bias, drawn.scale).exp().mean(dim=1)
        row = (row + stepped) / 2
    return row


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, scale: float
) -> Tensor:
    """Return the log-sum-exp (B, h, N) that the device's fused attention leaves behind."""
    if queries.device.type == "cpu":
        _, found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, attn_mask=bias, scale=scale
        )
        return found
    rows = queries.shape[2]
    if bias is not None:
        # The kernel wants rows that begin at multiples of 16, as the public function makes them.
        padded = F.pad(bias, (0, -bias.shape[-1] % 16))
        bias = padded[..., : bias.shape[-1]].expand(-1, -1, rows, -1)
    found = torch.ops.aten._scaled_dot_product_efficient_attention(
        queries, keys, values, bias, True, scale=scale
    )[1]
    return found[:, :, :rows]  # padded to a multiple of 32


def multiply_out(drawn: Drawn) -> Tensor:
    """Return the uniform row of the full product."""
    weights = [(q @ k.transpose(-2, -1) * drawn.scale).softmax(dim=-1) for q, k in drawn.blocks]
    return (start_row(drawn)[:, None] @ rollout.compute_full_rollout(weights))[:, 0]


def walk_exactly(drawn: Drawn) -> Tensor:
    """Walk down in float64, an image at a time."""
    row = start_row(drawn).double()
    for queries, keys in reversed(drawn.blocks):
        for image in range(len(row)):
            products = queries[image].double() @ keys[image].double().transpose(-2, -1)
            attention = (products * drawn.scale).softmax(dim=-1).mean(dim=0)
            row[image] = (row[image] + row[image] @ attention) / 2
    return row


def _format_row(row: dict[str, Any]) -> str:
    shape = " x ".join(map(str, row["shape"][:3]))
    return (
        f"{shape:24}{row['form']:22}{row['seconds'] * 1e3:9.2f} {row['ratio']:7.2f}"
        f" {row['difference']:8.0e} {row['over_floor']:8.2f}"
    )


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/rollout.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
