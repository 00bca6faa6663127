"""What outlives a killed trainer beside its checkpoints (ours)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Attempt(BaseModel):
    """One process that trained the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    started: str  # ISO 8601, UTC
    from_step: int
    conditions: dict[str, str] = {}  # device, threads, versions: what its numbers depend on


class RunState(BaseModel):
    """checkpoints/<fingerprint>/run.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_key: str  # names the run towards MLflow before MLflow has
    started: str  # ISO 8601, UTC; all times of points follow from it
    attempts: list[Attempt] = []
    finished: str | None = None
    record_md5: str | None = None  # of results/train/run.json, as DVC writes it into dvc.lock

    def begin_attempt(self, attempt: Attempt) -> RunState:
        """Return the state with one more attempt."""
        return self.model_copy(update={"attempts": [*self.attempts, attempt]})

    def describe_changes(self) -> str | None:
        """Say how the conditions of the last attempt differ from those of steps it goes on from."""
        if not self.attempts:
            return None
        *before, now = self.attempts
        ends = [attempt.from_step for attempt in self.attempts[1:]]
        # What was killed before its first checkpoint left nothing in the weights.
        lasting = [old for old, end in zip(before, ends, strict=True) if end > old.from_step]
        changes = []
        for name, value in now.conditions.items():
            others = {old.conditions[name] for old in lasting if name in old.conditions} - {value}
            if others:
                changes.append(f"{name} {', '.join(sorted(others))} before, {value} now")
        return "; ".join(changes) or None
