"""How a step's cost grows with the picture and with the batch, and by which law.

    python -m benchmarks.growth [--rounds 3] [--output results/benchmarks/growth.json]
        [--picture docs/cost_growth.png]

DeiT-Tiny on pictures of 224 to 896 pixels, two a step, and on 2 to 64 pictures of 224: seconds of
a training step and of inference for plain timm and for DCAL, in turn in one process. Seconds s of
N tokens are fitted by s = a N + b N^2 with a and b not negative, by least squares of relative
errors: a is what linear layers take, b what attention takes. Seconds of B pictures are fitted by
s = c + d B. `off` is the largest relative error of a fit. How ranking grows with the gallery is
read from what `benchmarks.ranking` wrote, and drawn beside it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from benchmarks.machine import compare, describe_machine, prepare, take_turns
from benchmarks.variants import Job, build_variant
from dcal.paths import write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("plain", "class", "class_local")
LABELS = {"plain": "plain timm", "class": "DCAL class", "class_local": "DCAL class_local"}
WHATS = ("train", "infer")
BACKBONE = "deit_tiny_patch16_224"
SIDES = (224, 448, 672, 896)
PICTURES = 2  # a step, where the side grows
BATCHES = {"cpu": (2, 4, 8, 16, 32), "cuda": (4, 16, 64, 256)}
SIDE = 224  # of a picture, where the batch grows


class Law(NamedTuple):
    """What was fitted: seconds = first * x + second * y."""

    first: float
    second: float
    largest_error: float  # relative


def main() -> None:
    """Measure, print the laws, write JSON and a picture."""
    arguments = _parse_arguments()
    device = prepare(arguments.threads)
    record: dict[str, Any] = {"machine": describe_machine(device, arguments.threads)}
    sides = [Job(BACKBONE, (side, side), PICTURES) for side in SIDES]
    batches = [Job(BACKBONE, (SIDE, SIDE), batch) for batch in BATCHES[device]]
    record["sides"] = [row for job in sides for row in measure(job, device, arguments.rounds)]
    record["batches"] = [row for job in batches for row in measure(job, device, arguments.rounds)]
    record["laws"] = list_laws(record)
    write_json(arguments.output, record)
    print(format_laws(record))
    ranking = json.loads(arguments.ranking.read_text(encoding="utf-8"))
    draw(record, ranking["gallery"]["rows"]).savefig(arguments.picture, dpi=160)


def measure(job: Job, device: str, rounds: int) -> list[dict[str, Any]]:
    """Return a row a variant."""
    variants = [build_variant(name, job, device=device) for name in NAMES]
    rows: list[dict[str, Any]] = [
        {**job._asdict(), "tokens": variant.shape.tokens, "variant": variant.name}
        for variant in variants
    ]
    for what in WHATS:
        functions = [v.train_step if what == "train" else v.infer for v in variants]
        seconds = take_turns(functions, device, rounds)
        for row, times in zip(rows, seconds, strict=True):
            row |= {f"{what}_{key}": value for key, value in compare(times, seconds[0]).items()}
    return rows


def list_laws(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a law for each variant, kind of pass and what grows."""
    laws = []
    for what in WHATS:
        for name in NAMES:
            rows = [row for row in record["sides"] if row["variant"] == name]
            tokens = np.array([row["tokens"] for row in rows], dtype=float)
            law = fit(tokens, tokens**2, [row[f"{what}_seconds"] for row in rows])
            linear, squared = law.first * tokens, law.second * tokens**2
            shares = (squared / (linear + squared)).tolist()
            laws.append({"grows": "tokens", "what": what, "variant": name, "shares": shares})
            laws[-1] |= law._asdict()
            rows = [row for row in record["batches"] if row["variant"] == name]
            sizes = np.array([row["batch_size"] for row in rows], dtype=float)
            law = fit(np.ones_like(sizes), sizes, [row[f"{what}_seconds"] for row in rows])
            laws.append({"grows": "batch", "what": what, "variant": name, **law._asdict()})
    return laws


def fit(x: np.ndarray, y: np.ndarray, seconds: Sequence[float]) -> Law:
    """Fit seconds = first * x + second * y, both not negative, by least relative squares."""
    measured = np.array(seconds)
    (first, second), _ = nnls(np.stack((x, y), axis=1) / measured[:, None], np.ones_like(measured))
    errors = np.abs(first * x + second * y - measured) / measured
    return Law(float(first), float(second), float(errors.max()))


def format_laws(record: dict[str, Any]) -> str:
    """Return the laws as lines."""
    lines = [
        f"{'':12}{'':8}{'us a token':>11} {'ns a pair':>10} {'share of pairs at':>22} {'off':>6}"
        f" {'ms a step':>10} {'ms a picture':>13} {'off':>6}"
    ]
    sides = " ".join(map(str, SIDES))
    lines[0] = lines[0].replace("share of pairs at", f"pairs at {sides}")
    for what in WHATS:
        for name in NAMES:
            tokens, batch = (
                next(
                    law
                    for law in record["laws"]
                    if (law["grows"], law["what"], law["variant"]) == (grows, what, name)
                )
                for grows in ("tokens", "batch")
            )
            shares = " ".join(f"{share:.0%}" for share in tokens["shares"])
            lines.append(
                f"{name:12}{what:8}{tokens['first'] * 1e6 / PICTURES:11.1f}"
                f" {tokens['second'] * 1e9 / PICTURES:10.1f} {shares:>24}"
                f" {tokens['largest_error']:6.0%} {batch['first'] * 1e3:10.1f}"
                f" {batch['second'] * 1e3:13.1f} {batch['largest_error']:6.0%}"
            )
    return "\n".join(lines)


def draw(record: dict[str, Any], gallery: list[dict[str, Any]]) -> Figure:
    """Draw training step by side, by batch, and ranking by gallery, with their laws."""
    from dcal.visual.figures import house_style, new_figure

    with house_style():
        figure = new_figure(9.6, 3.0)
        by_side, by_batch, by_gallery = figure.subplots(1, 3)
        _draw_steps(by_side, record, "tokens", PICTURES)
        by_side.set(title=f"a training step, {PICTURES} pictures", xlabel="pixels a side")
        by_side.set_xticks(SIDES)
        _draw_steps(by_batch, record, "batch", 1)
        by_batch.set(title=f"a training step, {SIDE} x {SIDE}", xlabel="pictures a step")
        _draw_gallery(by_gallery, gallery)
        for axes in (by_side, by_batch, by_gallery):
            axes.set(ylabel="seconds", ylim=(0, None), xlim=(0, None))
            axes.legend()
    return figure


def _draw_steps(axes: Axes, record: dict[str, Any], grows: str, pictures: int) -> None:
    from dcal.visual.figures import BRANCH_COLOURS, MUTED

    colours = dict(zip(NAMES, (MUTED, BRANCH_COLOURS["sa"], BRANCH_COLOURS["glca"]), strict=True))
    for name in NAMES:
        rows = [
            row
            for row in record["sides" if grows == "tokens" else "batches"]
            if row["variant"] == name
        ]
        law = next(
            law
            for law in record["laws"]
            if (law["grows"], law["what"], law["variant"]) == (grows, "train", name)
        )
        if grows == "tokens":
            places = [row["image_size"][0] for row in rows]
            reach = np.linspace(SIDES[0], SIDES[-1], 100)
            tokens = (reach / 16) ** 2 + 1
            fitted = law["first"] * tokens + law["second"] * tokens**2
        else:
            places = [row["batch_size"] for row in rows]
            reach = np.array([0.0, max(places)])
            fitted = law["first"] + law["second"] * reach
        axes.plot(reach, fitted, color=colours[name], linewidth=0.9)
        seconds = [row["train_seconds"] for row in rows]
        axes.plot(places, seconds, "o", color=colours[name], markersize=4, label=LABELS[name])


def _draw_gallery(axes: Axes, rows: list[dict[str, Any]]) -> None:
    from dcal.visual.figures import BRANCH_COLOURS, MUTED

    sizes = [row["gallery"] / 1e6 for row in rows]
    for name, label, colour in (
        ("floor", "matrix product alone", MUTED),
        ("ours", "ranking", BRANCH_COLOURS["sa"]),
    ):
        seconds = [row[f"{name}_seconds"] for row in rows]
        axes.plot(sizes, seconds, "o-", color=colour, markersize=4, linewidth=0.9, label=label)
    axes.set(title="ranking 2,000 queries", xlabel="gallery, million pictures")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/growth.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/cost_growth.png"))
    parser.add_argument(
        "--ranking", type=Path, default=Path("results/benchmarks/ranking.json"), help="to draw"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
