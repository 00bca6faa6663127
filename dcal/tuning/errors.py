"""What a user can mend about a study (ours)."""

from __future__ import annotations


class TuningError(ValueError):
    """A plan, a database or a study that cannot be used; the message is one sentence."""
