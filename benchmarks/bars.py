"""What the project holds itself to on two cores in fp32, beside what a run of `step` saw."""

from __future__ import annotations

from typing import Any, NamedTuple


class Bar(NamedTuple):
    """A ratio to plain timm on DeiT-Tiny that is not to be passed."""

    what: str
    variant: str
    side: int
    at_most: float

    def find(self, rows: list[dict[str, Any]]) -> float | None:
        """Return what was seen; None where that was not measured."""
        found = {
            row["variant"]: row
            for row in rows
            if row["backbone"] == "deit_tiny_patch16_224"
            and row["image_size"][0] == self.side
            and row["precision"] == "fp32"
            and not row["is_compiled"]
            and row["keeps_freed"]
        }
        if not {"plain", self.variant} <= set(found):
            return None
        row = found[self.variant]
        if self.what == "memory":
            return float(row["memory_mib"] / found["plain"]["memory_mib"])
        return float(row["train_over_class" if self.what == "over" else f"{self.what}_ratio"])


TITLES = {"train": "training step", "infer": "inference", "memory": "memory, training"}
BARS = (
    Bar("train", "class", 224, 2.15),
    Bar("train", "class", 448, 2.30),
    Bar("train", "class_local", 224, 2.25),
    Bar("train", "class_local", 448, 2.45),
    Bar("infer", "class", 224, 0.97),
    Bar("infer", "class", 448, 0.95),
    Bar("infer", "class_local", 224, 1.10),
    Bar("infer", "class_local", 448, 1.25),
    Bar("memory", "class", 448, 2.4),
    Bar("memory", "class_local", 448, 2.4),
)
LEAST_ADVANTAGE = 1.6  # explicit over ours, training at 448


def format_bars(rows: list[dict[str, Any]]) -> str:
    """Return a line a bar; those that were not measured are left out."""
    lines = [f"{'DeiT-Tiny, beside plain timm':42}{'seen':>6} {'bar':>14}"]
    for bar in BARS:
        seen = bar.find(rows)
        if seen is not None:
            title = f"{TITLES[bar.what]}, {bar.variant}, {bar.side}"
            lines.append(_format_line(title, seen, bar.at_most, is_met=seen <= bar.at_most))
    seen = Bar("over", "explicit", 448, 0).find(rows)
    if seen is not None:
        line = _format_line(
            "training step, explicit over class, 448",
            seen,
            LEAST_ADVANTAGE,
            is_met=seen >= LEAST_ADVANTAGE,
            word="least",
        )
        lines.append(line)
    return "\n".join(lines)


def _format_line(title: str, seen: float, bar: float, *, is_met: bool, word: str = "most") -> str:
    return f"{title:42}{seen:6.2f}  at {word} {bar:.2f}{'' if is_met else '  not met'}"
