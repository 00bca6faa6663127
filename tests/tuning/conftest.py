"""What every test of tuning runs under."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def default_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep studies of a test out of the user's database."""
    monkeypatch.delenv("DCAL_OPTUNA_URL", raising=False)
