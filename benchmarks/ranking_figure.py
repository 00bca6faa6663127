"""Draw how ranking's time and memory grow with the gallery, from what `benchmarks.ranking` wrote.

python -m benchmarks.ranking_figure [results/benchmarks/ranking.json] [docs/gallery_growth.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcal.visual.figures import BRANCH_COLOURS, MUTED, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = {"ours": ("ranking", BRANCH_COLOURS["sa"]), "floor": ("matrix product alone", MUTED)}


def main() -> None:
    """Read the record and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", nargs="?", default="results/benchmarks/ranking.json")
    parser.add_argument("picture", nargs="?", default="docs/gallery_growth.png")
    arguments = parser.parse_args()
    record = json.loads(Path(arguments.record).read_text(encoding="utf-8"))
    draw_growth(record["gallery"]).savefig(arguments.picture, dpi=160)


def draw_growth(gallery: dict[str, Any]) -> Figure:
    """Draw seconds, with a straight line through the origin, and peak memory beside the features.

    Args:
        gallery: Of the record: `rows` with the size of the gallery and what was measured.
    """
    rows = gallery["rows"]
    sizes = np.array([row["gallery"] for row in rows]) / 1e6
    with house_style():
        figure = new_figure(7.2, 2.8)
        time, memory = figure.subplots(1, 2)
        for name, (label, colour) in SERIES.items():
            seconds = np.array([row[f"{name}_seconds"] for row in rows])
            slope = (seconds / sizes).mean()
            reach = np.array([0, sizes.max()])
            time.plot(reach, slope * reach, color=colour, linewidth=0.8, linestyle=":")
            time.plot(sizes, seconds, "o", color=colour, markersize=4, label=label)
            peaks = [row[f"{name}_peak_mib"] for row in rows]
            memory.plot(sizes, peaks, "o-", color=colour, markersize=4, label=label)
        time.set(title="seconds", ylim=(0, None))
        memory.set(title="peak MiB beside the features", ylim=(0, None))
        for axes in (time, memory):
            axes.set(xlabel="gallery, million pictures", xlim=(0, None))
            axes.legend(labelcolor=MUTED)
    return figure


if __name__ == "__main__":
    main()
