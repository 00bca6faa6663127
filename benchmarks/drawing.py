"""Time the drawing of birds: pictures a second on one core, mask included.

Command: python -m benchmarks.drawing
"""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console

from dcal.data.synthetic import choose_classes, draw_bird


def main(
    num_images: Annotated[int, typer.Option(min=1, help="Pictures to draw.")] = 2000,
    side: Annotated[int, typer.Option(min=16, help="Height and width in pixels.")] = 64,
) -> None:
    """Draw pictures of 24 classes in turn and print the rate."""
    classes = choose_classes(24, seed=0)
    begin = time.perf_counter()
    for index in range(num_images):
        draw_bird(classes[index % 24], seed=0, index=index, image_size=(side, side))
    seconds = time.perf_counter() - begin
    Console().print(
        f"{num_images / seconds:.0f} pictures of {side} x {side} a second and core, masks included"
    )


if __name__ == "__main__":
    typer.run(main)
