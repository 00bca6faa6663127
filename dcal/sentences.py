"""How a message stays one sentence whatever it quotes (ours)."""

from __future__ import annotations


def to_one_line(text: str, *, max_characters: int = 300) -> str:
    """Return a text for the middle of a sentence: without line ends, and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= max_characters else f"{line[:max_characters]}..."
